"""A model as a pure function of its tensors: it runs on a private copy, and the model itself is never touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map

from ..core import Vectors
from .copies import Copy
from .modules import modules

RECOMPUTES = (
    "the model recomputes activations in its backward pass (torch.utils.checkpoint), or stores them elsewhere (saved "
    "tensor hooks), which torch.func cannot differentiate. Switch checkpointing off for this problem, use engines.Hooks(), "
    "or choose a metric that needs no rows: GradientMagnitude, KLExact(along=GradientMagnitude())."
)

REENTRANT = (
    "the model checkpoints activations by torch.utils.checkpoint with use_reentrant=True, or has a Function whose backward "
    "calls backward, and what is asked for takes derivatives that such a backward pass does not give. Set use_reentrant=False, "
    "or choose what makes do with whole backward passes: EmpiricalFisher, DiagonalFisher, Fisher where rows_limit allows its "
    "rows, KLExact."
)

Call = Callable[[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor], Any], Any]
"""(θ, the other parameters, buffers, x) ↦ outputs."""


@contextmanager
def without_reentrant() -> Iterator[None]:
    """Inside, an error that comes of reentrant checkpoints names cause and cure; also a decorator."""
    try:
        yield
    except RuntimeError as error:
        if "use_reentrant=True" in str(error):  # torch's message
            raise RuntimeError(REENTRANT) from error
        raise


def called(model: Callable[..., Any], x: Any) -> Any:
    """The model's outputs on x: a tensor, a tuple of arguments or a dict of keyword arguments."""
    if isinstance(x, Mapping):
        return model(**x)
    return model(*x) if isinstance(x, tuple | list) else model(x)


@dataclass(frozen=True)
class Writes:
    """What a forward pass writes to. parameters: slots; attributes: whether tensors or arrays that are plain attributes;
    inputs: x; state: whether anything that it leaves behind, but for the parameters of an optimizer.
    """

    parameters: frozenset[tuple[int, str]] = frozenset()
    attributes: bool = False
    inputs: bool = False
    state: bool = False

    def copy(self, model: nn.Module, tensors: Mapping[int, Tensor] | None = None) -> Copy:
        """Of the model for one pass, with ``tensors`` (id → the one to use), and clones of what the pass would write to."""
        made, parts = dict(tensors or {}), modules(model)
        for p in {id(p): p for p in (parts[i]._parameters[name] for i, name in self.parameters)}.values():
            assert p is not None, "it was written to"
            made[id(p)] = made.get(id(p), p).clone()
        return Copy(made, clones=self.attributes)

    def given(self, x: Any) -> Any:
        """The inputs of one pass."""
        return unshared(x) if self.inputs else x


def unshared(tree: Any) -> Any:
    """The same containers with clones of the tensors."""
    return tree_map(lambda t: t.clone() if isinstance(t, Tensor) else t, tree)


@dataclass(frozen=True)
class Slots:
    """Which tensor belongs to which slot of a model: (number of the module, name, position in a list). It holds no tensor.

    Slots are by module, not by name: a module registered twice has one slot, a parameter tied across modules several.
    parameters: positions among those that were chosen, followed by the others. writes: those are cloned before a call.
    """

    parameters: tuple[tuple[int, str, int], ...]
    buffers: tuple[tuple[int, str, int], ...]
    writes: Writes = Writes()

    @classmethod
    def of(cls, model: nn.Module, chosen: Vectors, writes: Writes = Writes()) -> tuple[Slots, list[Tensor], list[Tensor]]:
        """(slots, the parameters that were not chosen, buffers) at present. chosen: parameters of the model."""
        parameters, buffers = places(model, "_parameters"), places(model, "_buffers")
        held = {id(t): t for t in (*chosen, *parameters.values())}
        kept = {id(t): t for t in buffers.values()}
        others = [t.detach() for t in list(held.values())[len(chosen) :]]
        return cls(_positions(parameters, held), _positions(buffers, kept), writes), others, list(kept.values())

    def call(
        self, model: nn.Module, theta: Sequence[Tensor], others: Sequence[Tensor], buffers: Sequence[Tensor], x: Any
    ) -> Any:
        """The outputs on x with these tensors in place of the model's own. Raises: as ``joint``."""
        return self.joint(model, theta, others, buffers, x)[0]

    def joint(
        self, model: nn.Module, theta: Sequence[Tensor], others: Sequence[Tensor], buffers: Sequence[Tensor], x: Any
    ) -> tuple[Any, Copy]:
        """(the outputs, the copy that gave them).

        Raises: RuntimeError where ``torch.func`` differentiates a model that recomputes activations in its backward pass.
        """
        held = [*theta, *others]
        fresh = [b.clone() for b in buffers]  # a pass in training mode writes to them
        parts = [vars(m) for m in modules(model)]
        made = {id(parts[i]["_parameters"][name]): held[k] for i, name, k in self.parameters}
        made |= {id(parts[i]["_buffers"][name]): fresh[k] for i, name, k in self.buffers}
        copy = self.writes.copy(model, made)
        try:
            return called(copy.of(model), self.writes.given(x)), copy
        except RuntimeError as error:
            if "saved tensor hooks" in str(error):  # torch.func's message
                raise RuntimeError(RECOMPUTES) from error
            raise

    def compilable(self, model: nn.Module) -> tuple[Call, Callable[[nn.Module], None]]:
        """(:meth:`call` for ``torch.compile``, what brings it up to date): by exchange in one private copy."""
        names = {m: name for name, m in model.named_modules()}
        prefix = [f"{names[m]}." if names[m] else "" for m in modules(model)]
        held, kept = ([(prefix[i] + name, k) for i, name, k in slots] for slots in (self.parameters, self.buffers))
        parts: list[nn.Module] = []

        def exchanged(theta: Sequence[Tensor], others: Sequence[Tensor], buffers: Sequence[Tensor], x: Any) -> Any:
            given, fresh = [*theta, *others], [b.clone() for b in buffers]
            tensors = {path: given[k] for path, k in held} | {path: fresh[k] for path, k in kept}
            return called(lambda *a, **k: functional_call(parts[0], tensors, a, k, tie_weights=False), x)

        def current(model: nn.Module) -> None:
            # all attributes are those of the model now: of an exchange that an exception broke off nothing is left
            copy = Copy({id(b): b for b in model.buffers()}, parts)
            copy.of(model)
            parts[:] = copy.modules

        current(model)
        return exchanged, current


class Opened:
    """(θ, rest, x) ↦ the model's outputs. They may be differentiated after the call has ended, also by recomputation.

    rest: the parameters that were not chosen and the buffers, at construction.
    """

    def __init__(self, model: nn.Module, parameters: Vectors, writes: Writes = Writes()) -> None:
        self.model, self.parameters = model, parameters
        self.slots, others, buffers = Slots.of(model, parameters, writes)
        self.count, self.rest = len(others), [*others, *(b.clone() for b in buffers)]

    def __call__(self, values: Vectors, rest: Vectors, x: Any) -> Any:
        """The outputs on x with ``values`` in place of the chosen parameters and ``rest`` in place of all others."""
        return self.joint(values, rest, x)[0]

    def joint(self, values: Vectors, rest: Vectors, x: Any) -> tuple[Any, Copy]:
        """(the outputs, the copy that gave them)."""
        return self.slots.joint(self.model, values, rest[: self.count], rest[self.count :], x)


def places(model: nn.Module, kind: str) -> dict[tuple[int, str], Tensor]:
    """(number of the module, name) → its tensor; kind: ``_parameters`` or ``_buffers``."""
    found = [((i, k), t) for i, m in enumerate(modules(model)) for k, t in getattr(m, kind).items()]
    return {place: t for place, t in found if t is not None}


def _positions(places: Mapping[tuple[int, str], Tensor], order: Mapping[int, Tensor]) -> tuple[tuple[int, str, int], ...]:
    index = {key: i for i, key in enumerate(order)}
    return tuple((i, name, index[id(t)]) for (i, name), t in places.items())
