"""Once a structure: what a forward pass of a copy reads of the original, and what it writes to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..core.stacks import Watch, eager
from .copies import Copy
from .functional import Writes, called, places, unshared
from .kept import Kept
from .modules import modules
from .places import Places


class Touched(Watch):
    """Storages that operations read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[int] = set()
        self.written: set[int] = set()

    def __torch_dispatch__(self, func: Any, kinds: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        self.read |= self.storages(tree_leaves((args, kwargs)))
        if func._schema.is_mutable:
            given = zip(func._schema.arguments, [*args, *([None] * (len(func._schema.arguments) - len(args)))], strict=False)
            changed = [kwargs.get(a.name, t) for a, t in given if a.alias_info is not None and a.alias_info.is_write]
            self.written |= self.storages(tree_leaves(changed))
        return func(*args, **kwargs)

    def reads(self, t: Tensor) -> bool:
        """Whether an operation read this tensor or one that shares its storage."""
        return not self.read.isdisjoint(self.storages([t]))

    def writes(self, t: Tensor) -> bool:
        """Whether an operation wrote to it."""
        return not self.written.isdisjoint(self.storages([t]))

    @staticmethod
    def storages(leaves: Iterable[Any]) -> set[int]:
        """Of strided tensors: other ones have none, or several."""
        return {t.untyped_storage()._cdata for t in leaves if isinstance(t, Tensor) and t.layout == torch.strided}


def examine(model: nn.Module, x: Any) -> Writes:
    """What a forward pass writes to, by one pass of a copy that has clones of all tensors. Random numbers are the caller's.

    Raises: ValueError where the copy reads the original's own tensors: it would compute with these wherever it is evaluated.
    """
    held, buffers = places(model, "_parameters"), places(model, "_buffers")
    clones = {id(t): t.detach().clone().requires_grad_(t.requires_grad) for t in (*held.values(), *buffers.values())}
    copy = Copy(clones, clones=True)
    before = {key: t.data_ptr() for key, t in clones.items()}
    private, inputs = copy.of(model), unshared(x)
    kept = Kept(Places(modules(private), [t for t in clones.values() if t.requires_grad]))
    with torch.enable_grad(), eager(), Touched() as touched:  # a forward pass may differentiate
        called(private, inputs)
    read = [t for t, used in copy.plain if touched.reads(used)]
    shared = Touched.storages(read)
    aliased = {id(t) for t in (*held.values(), *buffers.values()) if not shared.isdisjoint(Touched.storages([t]))}
    _refuse_originals(model, [place for place, t in (held | buffers).items() if touched.reads(t) or id(t) in aliased])
    if any(t.requires_grad for t in read):
        raise ValueError(
            "the forward pass reads a tensor attribute that was computed from parameters before the call, so that it does not "
            "follow them. Compute it in forward, or detach it."
        )
    return Writes(
        frozenset(
            place for place, t in held.items() if touched.writes(clones[id(t)]) or clones[id(t)].data_ptr() != before[id(t)]
        ),
        any(touched.writes(used) for _, used in copy.plain) or bool(kept.arrays_changed()),
        any(touched.writes(t) for t in tree_leaves(inputs) if isinstance(t, Tensor)),
        not kept.changed() <= kept.tallies().keys(),
    )


def _refuse_originals(model: nn.Module, reached: list[tuple[int, str]]) -> None:
    if not reached:
        return
    number = {m: i for i, m in enumerate(modules(model))}
    names = {(number[m], k): f"{name}.{k}".lstrip(".") for name, m in model.named_modules() for k in vars(m)["_parameters"]}
    names |= {(number[m], k): f"{name}.{k}".lstrip(".") for name, m in model.named_modules() for k in vars(m)["_buffers"]}
    raise ValueError(
        f"{', '.join(names[place] for place in reached)}: the forward pass reads this not through the model's own attributes "
        "but by a way that a copy of the model does not follow (a global name inside a method, an object within an object, a "
        "view kept from an earlier time), so that the model cannot be evaluated at other parameters. Read it as self.… of a "
        "registered submodule."
    )
