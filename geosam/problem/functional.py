"""A model as a pure function of its tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from ..core import Vectors
from .randomness import Replay


def called(model: Callable[..., Any], x: Any) -> Any:
    """The model's outputs on x: a tensor, a tuple of arguments or a dict of keyword arguments."""
    if isinstance(x, Mapping):
        return model(**x)
    return model(*x) if isinstance(x, tuple | list) else model(x)


@dataclass(frozen=True)
class Slots:
    """Which tensor belongs to which slot of a model: (name of the slot, position in a list). It holds no tensor.

    Slots are by module, not by name: a module registered twice has one slot, a parameter tied across modules several.
    parameters: positions among those that were chosen, followed by the others.
    """

    parameters: tuple[tuple[str, int], ...]
    buffers: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, model: nn.Module, chosen: Vectors) -> tuple[Slots, list[Tensor], list[Tensor]]:
        """(slots, the parameters that were not chosen, buffers) at present. chosen: parameters of the model."""
        parameters, buffers = _places(model, "_parameters"), _places(model, "_buffers")
        held = {id(t): t for t in (*chosen, *parameters.values())}
        kept = {id(t): t for t in buffers.values()}
        others = [t.detach() for t in list(held.values())[len(chosen) :]]
        return cls(_positions(parameters, list(held)), _positions(buffers, list(kept))), others, list(kept.values())

    def call(
        self, model: nn.Module, theta: Sequence[Tensor], others: Sequence[Tensor], buffers: Sequence[Tensor], x: Any
    ) -> Any:
        """The outputs on x with these tensors in place of the model's own, which are unchanged."""
        held = [*theta, *others]
        fresh = [b.clone() for b in buffers]  # a pass in training mode writes to them
        tensors = {name: held[i] for name, i in self.parameters} | {name: fresh[i] for name, i in self.buffers}
        return called(lambda *a, **k: functional_call(model, tensors, a, k, tie_weights=False), x)

    def copied(
        self, model: nn.Module, theta: Sequence[Tensor], others: Sequence[Tensor], buffers: Sequence[Tensor]
    ) -> nn.Module:
        """A copy of the model with these tensors in it."""
        memo = {id(t): t for m in model.modules() for t in vars(m).values() if isinstance(t, Tensor)}
        for kind, slots, tensors in (
            ("_parameters", self.parameters, [*theta, *others]),
            ("_buffers", self.buffers, [b.clone() for b in buffers]),
        ):
            places = _places(model, kind)
            memo |= {id(places[name]): tensors[i] for name, i in slots}
        return copy.deepcopy(model, memo)


class Opened:
    """(θ, rest, x) ↦ the model's outputs; its own tensors are unchanged. They may be differentiated after the call has ended.

    rest: the parameters that were not chosen and the buffers, at construction. memory: records whether the model recomputes
    activations in its backward pass. A recomputation needs the same tensors again, so a copy of the model holds them.
    Raises: RuntimeError where ``torch.func`` differentiates such a model.
    """

    RECOMPUTES: ClassVar[str] = (
        "the model recomputes activations in its backward pass (torch.utils.checkpoint), or stores them elsewhere (saved "
        "tensor hooks), which torch.func cannot differentiate. Switch checkpointing off for this problem, use engines.Hooks(), "
        "or choose a metric that needs no rows: GradientMagnitude, KLExact(along=GradientMagnitude())."
    )

    def __init__(self, model: nn.Module, parameters: Vectors, memory: MutableMapping[Any, Any]) -> None:
        self.model, self.parameters, self.memory = model, parameters, memory
        self.slots, others, buffers = Slots.of(model, parameters)
        self.count, self.rest = len(others), [*others, *(b.clone() for b in buffers)]

    def __call__(self, values: Vectors, rest: Vectors, x: Any) -> Any:
        """The outputs on x with ``values`` in place of the chosen parameters and ``rest`` in place of all others."""
        if not rest and all(v is p for v, p in zip(values, self.parameters, strict=True)):
            return called(self.model, x)
        tensors = (values, rest[: self.count], rest[self.count :])
        if not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.slots.call(self.model, *tensors, x)
        if self.RECOMPUTES not in self.memory:
            replay = Replay.now(self.parameters)
            try:
                with torch.autograd.graph.disable_saved_tensors_hooks(self.RECOMPUTES):
                    return self.slots.call(self.model, *tensors, x)
            except RuntimeError as error:
                if str(error) != self.RECOMPUTES:
                    raise
            replay.rewind()
            self.memory[self.RECOMPUTES] = True
        try:
            return called(self.slots.copied(self.model, *tensors), x)
        except RuntimeError as error:
            if "saved tensor hooks" in str(error):  # torch.func's message
                raise RuntimeError(self.RECOMPUTES) from error
            raise


def _places(model: nn.Module, kind: str) -> dict[str, Tensor]:
    found = [(f"{n}.{k}" if n else k, t) for n, m in model.named_modules() for k, t in vars(m)[kind].items()]
    return {name: t for name, t in found if t is not None}


def _positions(places: Mapping[str, Tensor], order: Sequence[int]) -> tuple[tuple[str, int], ...]:
    index = {key: i for i, key in enumerate(order)}
    return tuple((name, index[id(t)]) for name, t in places.items())


def refuse_plain_references(model: nn.Module) -> None:
    """ValueError for a parameter that a module also holds in a plain list, tuple or dict, where no call can replace it."""
    own = {id(p) for p in model.parameters()}
    for name, module in model.named_modules():
        held = {} if isinstance(module, nn.RNNBase) else {k: v for k, v in vars(module).items() if not k.startswith("_")}
        for attribute, value in held.items():
            if isinstance(value, list | tuple | dict) and any(id(t) in own for t in tree_leaves(value)):
                raise ValueError(
                    f"{name or 'the model'}.{attribute} holds parameters of the model by plain reference, where a call at "
                    "other parameters cannot replace them. Keep them in a torch.nn.ParameterList or ParameterDict."
                )
