"""A model as a pure function of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from ._vectors import Vectors


def called(model: Callable[..., Any], x: Any) -> Any:
    """The model's outputs on x: a tensor, a tuple of arguments or a dict of keyword arguments."""
    if isinstance(x, Mapping):
        return model(**x)
    return model(*x) if isinstance(x, tuple | list) else model(x)


@dataclass(frozen=True)
class Slots:
    """Which tensor stands where in a model: (name of a slot, position in a list). It holds no tensor.

    By module, not by name: a module registered twice has one slot, a parameter tied across modules has several.
    parameters: positions among those that were chosen, followed by the others.
    """

    parameters: tuple[tuple[str, int], ...]
    buffers: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, model: nn.Module, chosen: Vectors) -> tuple[Slots, list[Tensor], list[Tensor]]:
        """(slots, the parameters that were not chosen, buffers) as they are now. chosen: parameters of the model."""
        parameters, buffers = _places(model, "_parameters"), _places(model, "_buffers")
        held = {id(t): t for t in (*chosen, *parameters.values())}
        kept = {id(t): t for t in buffers.values()}
        others = [t.detach() for t in list(held.values())[len(chosen) :]]
        return cls(_positions(parameters, list(held)), _positions(buffers, list(kept))), others, list(kept.values())

    def call(
        self, model: nn.Module, theta: Sequence[Tensor], others: Sequence[Tensor], buffers: Sequence[Tensor], x: Any
    ) -> Any:
        """The outputs on x with these tensors in place of the model's own, which are left alone."""
        held = [*theta, *others]
        fresh = [b.clone() for b in buffers]  # a pass in training mode writes to them
        tensors = {name: held[i] for name, i in self.parameters} | {name: fresh[i] for name, i in self.buffers}
        return called(lambda *a, **k: functional_call(model, tensors, a, k, tie_weights=False), x)


def _places(model: nn.Module, kind: str) -> dict[str, Tensor]:
    found = [(f"{n}.{k}" if n else k, t) for n, m in model.named_modules() for k, t in vars(m)[kind].items()]
    return {name: t for name, t in found if t is not None}


def _positions(places: Mapping[str, Tensor], order: Sequence[int]) -> tuple[tuple[str, int], ...]:
    index = {key: i for i, key in enumerate(order)}
    return tuple((name, index[id(t)]) for name, t in places.items())
