"""What a loss reads besides the outputs: parameters and buffers, its own or the model's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from ..core.stacks import eager
from ..core.undo import pass_on


class Eager(TorchFunctionMode):
    """A mode inside which compiled models run as they are written, because it is not compiled with them."""

    def __enter__(self) -> Any:
        self._stack = eager()
        self._stack.__enter__()
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._stack.__exit__(*raised)


class Instead(Eager):
    """A context in which operations read other tensors in place of some; the owners of these are not touched.

    pairs: (tensor, what is read in its place). An operation that refuses tensors of two floating types, as a float32 weight of
    the loss beside float64 outputs, is given all of them in float64.
    """

    def __init__(self, pairs: Iterable[tuple[Tensor, Tensor]] = ()) -> None:
        super().__init__()
        self._pairs = {id(held): (held, read) for held, read in pairs}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map(self._read, (args, kwargs or {}))
        try:
            return func(*args, **kwargs)
        except RuntimeError as error:
            pass_on(error)
            if len({t.dtype for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.is_floating_point()}) < 2:
                raise
            args, kwargs = widened((args, kwargs))
            return func(*args, **kwargs)

    def _read(self, value: Any) -> Any:
        return self._pairs.get(id(value), (value, value))[1]


def widened(tree: Any) -> Any:
    """The same containers, with every floating tensor in float64."""
    return tree_map(lambda t: t.double() if isinstance(t, Tensor) and t.is_floating_point() else t, tree)


def tensors(tree: Any) -> list[Tensor]:
    """All tensors in containers, and in the attributes of objects; each once, in order."""
    found: dict[int, Tensor] = {}
    seen: set[int] = set()
    left = [tree]
    while left:  # no function that calls itself: its reference cycle would keep the tensors until a collection
        value = left.pop()
        if isinstance(value, Tensor):
            found[id(value)] = value
        elif id(value) not in seen and not isinstance(value, type):
            seen.add(id(value))
            parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
            left += reversed((*parts, *getattr(value, "__dict__", {}).values()))
    return list(found.values())


def walk(root: Any, visit: Callable[[Tensor], None], stop: Iterable[Any] = ()) -> None:
    """Call ``visit`` with a leaf for every edge of the graph that leads to it, except through the nodes ``stop``."""
    seen, stack = {root, *stop}, [] if root in stop else [root]
    while stack:
        for node, _ in stack.pop().next_functions:
            if node is None:
                continue
            if hasattr(node, "variable"):
                visit(node.variable)
            elif node not in seen:
                seen.add(node)
                stack.append(node)


def calls_python(root: Tensor) -> bool:
    """Whether a backward pass from here runs code of a ``torch.autograd.Function``."""
    seen, stack = set(), [root.grad_fn]
    while stack:
        node = stack.pop()
        if isinstance(node, BackwardCFunction):
            return True
        if node is not None and node not in seen:
            seen.add(node)
            stack += [next_node for next_node, _ in node.next_functions]
    return False


def leaves(loss: Tensor, outputs: Any) -> list[Tensor]:
    """The tensors whose ``.grad`` a backward pass would set without the outputs: a penalty's parameters, a loss's own."""
    found: dict[int, Tensor] = {}
    if loss.grad_fn is not None:
        given = [t.grad_fn for t in tensors(outputs)]
        walk(loss.grad_fn, lambda t: found.update({id(t): t}), [node for node in given if node is not None])
    return list(found.values())
