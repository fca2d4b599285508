"""Recording what a forward pass does with its parameters."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ...core import Vectors
from ...core.stacks import eager
from ...core.undo import pass_on
from .arguments import Spec, flatten
from .routes import Routes

# Python functions that are recorded as one operation; inside any other of torch.nn.functional operations are recorded
_WHOLE = (F.layer_norm, F.group_norm, F.embedding)


@dataclass(frozen=True, eq=False)
class Use:
    """One operation that took parameters, out = func(*args, **kwargs).

    flat: the arguments' leaves, activations without their graph. places: position in ``flat`` → index of a parameter.
    edge: the output's edge in the graph, for its gradient. versions: of the activations, to detect that one was overwritten.
    """

    func: Callable[..., Tensor]
    flat: list[Any]
    spec: Spec
    places: dict[int, int]
    edge: GradientEdge
    shape: torch.Size
    dtype: torch.dtype
    versions: dict[int, int]

    @property
    def name(self) -> str:
        """The function's name."""
        return getattr(self.func, "__name__", str(self.func))

    @property
    def activations(self) -> dict[int, Tensor]:
        """Position in ``flat`` → a tensor argument that is no parameter."""
        return {i: t for i, t in enumerate(self.flat) if isinstance(t, Tensor) and i not in self.places}

    def snapshot(self) -> Use:
        """The same with copies of the current parameters."""
        flat = [t.detach().clone() if i in self.places else t for i, t in enumerate(self.flat)]
        return replace(self, flat=flat)

    def overwritten(self) -> bool:
        """Whether an in-place operation has changed an argument since it was used."""
        return any(self.flat[i]._version != version for i, version in self.versions.items())

    @cached_property
    def given(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(args, kwargs) as recorded."""
        return self.arguments({})

    @cached_property
    def positions(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(args, kwargs) with positions in ``flat`` for leaves."""
        return self.spec.whole(range(len(self.flat)))

    def arguments(self, changed: dict[int, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(args, kwargs) with the leaves at these positions replaced."""
        flat = [changed.get(i, t) for i, t in enumerate(self.flat)]
        return self.spec.whole(flat)


class Capture(TorchFunctionMode):
    """A context in which every operation on a parameter is recorded, and the parameter enters without its graph.

    A backward pass to the edges of the uses is then with respect to activations only: no weight gradient is computed.
    opaque: indices of parameters whose use is not recorded, such as a use through another tensor computed from them.
    routes: whether data may decide which sample goes where.
    """

    def __init__(self, parameters: Vectors) -> None:
        super().__init__()
        self.index = {id(p): i for i, p in enumerate(parameters)}
        self.uses: list[Use] = []
        self.opaque: set[int] = set()
        self.routes = Routes(self.index)
        self._made: dict[int, tuple[Tensor, set[int]]] = {}
        self._eager: list[Any] = []

    def __enter__(self) -> Capture:
        # a compiled model would compile the recording too, and again for every batch
        self._eager.append(eager())  # entered again inside each composite function
        self._eager[-1].__enter__()
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._eager.pop().__exit__(*raised)

    def __torch_function__(
        self, func: Callable[..., Any], kinds: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        touches = self._touches(args) or self._touches(kwargs.values())
        if touches and _composite(func):
            with self:
                return _opened(func)(*args, **kwargs)
        out = self._taken(func, args, kwargs) if touches else func(*args, **kwargs)
        if not self.routes.found:
            self.routes.see(func, args, kwargs, out)
        return out

    def _taken(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """The result of a call that takes a parameter, or what was computed from one."""
        flat, spec = flatten(args, kwargs)
        places: dict[int, int] = {}
        activations: dict[int, Tensor] = {}
        for i, t in enumerate(flat):
            if isinstance(t, Tensor):
                index = self.index.get(id(t))
                if index is None:
                    activations[i] = t
                else:
                    places[i] = index
        through = [t for t in activations.values() if id(t) in self._made]
        in_place = _in_place(getattr(func, "__name__", ""))
        if activations and not through and not in_place:
            return self._record(func, flat, spec, places, activations)
        out = func(*args, **kwargs)
        made = [t for t in tree_leaves(out) if isinstance(t, Tensor) and t.requires_grad]
        sources = set(places.values()).union(*(self._made[id(t)][1] for t in through))
        if len(through) == len(activations):  # computed from parameters alone
            self._made.update({id(t): (t, sources) for t in made})
        elif made:
            self.opaque |= sources
        if in_place:  # every view of the written tensor changes too
            self.opaque |= sources
        return out

    def end(self, outputs: Any) -> None:
        """Takes the model's outputs: those computed from parameters alone reach the loss without a recorded use."""
        for t in tree_leaves(outputs):
            self.opaque |= {self.index[id(t)]} if id(t) in self.index else self._made.get(id(t), (t, set()))[1]

    def _touches(self, values: Iterable[Any]) -> bool:
        """Whether a parameter, or a tensor computed from one, is among these or in a list of them."""
        for value in values:
            if id(value) in self.index or id(value) in self._made:
                return True
            if isinstance(value, list | tuple) and self._touches(value):
                return True
        return False

    def _record(
        self, func: Callable[..., Any], flat: list[Any], spec: Spec, places: dict[int, int], activations: dict[int, Tensor]
    ) -> Any:
        # a leaf that nothing is differentiated by: it gives the output an edge even where no activation requires a gradient
        given = flat.copy()
        try:
            for i in places:
                given[i] = flat[i].detach().requires_grad_()
        except RuntimeError as error:  # inside a transform of torch.func, where an output has no edge
            pass_on(error)
            self.opaque |= set(places.values())
            args, kwargs = spec.whole(flat)
            return func(*args, **kwargs)
        args, kwargs = spec.whole(given)
        out = func(*args, **kwargs)
        if isinstance(out, Tensor) and out.requires_grad:
            held, versions = flat.copy(), {}
            for i, t in activations.items():
                held[i], versions[i] = t.detach(), t._version
            self.uses.append(Use(func, held, spec, places, get_gradient_edge(out), out.shape, out.dtype, versions))
        elif any(isinstance(t, Tensor) and t.requires_grad for t in tree_leaves(out)):
            self.opaque |= set(places.values())
            args, kwargs = spec.whole(flat)
            return func(*args, **kwargs)
        return out


def _in_place(name: str) -> bool:
    """By its name; ``__invert__`` passes too, which is harmless."""
    return name.startswith(("__i", "__set")) if name.endswith("__") else name.endswith("_")


def _composite(func: Callable[..., Any]) -> bool:
    return isinstance(func, types.FunctionType) and func.__module__ == F.__name__ and func not in _WHOLE


@functools.cache
def _opened(func: types.FunctionType) -> Callable[..., Any]:
    """The same function without its own check for modes: each operation that it calls is then recorded on its own."""
    names = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    silenced = {name: (lambda *tensors: False) for name in names}
    opened = types.FunctionType(
        func.__code__, {**func.__globals__, **silenced}, func.__name__, func.__defaults__, func.__closure__
    )
    opened.__kwdefaults__ = func.__kwdefaults__
    return opened
