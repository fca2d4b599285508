"""A graph without a device: operations are recorded and run again on the same tensors, and a host read is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map


class Tape(TorchDispatchMode):
    """What a replay needs: operation, arguments and results, in order. Views and in-place results are where they were."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("a number was read on the host")
        found = func(*args, **(kwargs or {}))
        self.calls.append((func, *tree_map(_there, (args, kwargs or {})), found))
        return found

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, before in self.calls:
            for kept, new in zip(tree_leaves(before), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(kept, Tensor) and kept.data_ptr() != new.data_ptr():
                    kept.copy_(new)


def _there(value: Any) -> Any:
    """A tensor where it lies now: a parameter may point elsewhere later."""
    return value.detach() if isinstance(value, Tensor) else value


class Taped:
    """A recorder for the CPU."""

    def rehearse(self, run: Callable[[], None]) -> None:
        run()

    def record(self, run: Callable[[], None]) -> Callable[[], None]:
        tape = Tape()
        with tape:
            run()
        return tape.replay
