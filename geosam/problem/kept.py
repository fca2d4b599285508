"""What modules hold from one pass to the next, as it was at one time."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from ..core import vectors as vec
from .holder import Tally
from .places import Places


class Kept:
    """What lies in some places at one time. copied: whether tensors and arrays are, without which there is no ``restore``."""

    def __init__(self, places: Places, copied: bool = True) -> None:
        self.places = places
        self.versions = [*map(version, places.tensors)]
        groups = places.groups if copied else []
        self.values = vec.assemble((group, vec.clone([places.tensors[i] for i in group])) for group in groups)
        self._arrays = [a.copy() for _, a in places.arrays] if copied else []
        self._sums = [_sum(t) for _, t in places.many] if copied else []

    @torch.no_grad()
    def restore(self, only: Collection[int] | None = None, quietly: bool = False) -> None:
        """Give all of them their values back, or those of some modules, by their ids; may be repeated.

        quietly: to tensors without a counted write by one that does not count either, for rows may be formed of them later.
        """
        places = self.places
        if not places.same():
            for holder in places.holders:
                if only is None or id(holder.owner) in only:
                    holder.restore()
        for group in places.groups:
            mine = [i for i in group if only is None or places.owners[i] in only]
            for t, value in ((places.tensors[i], self.values[i]) for i in mine):
                if t.shape != value.shape:
                    t.data = value.clone()
            written = [places.tensors[i] for i in mine]
            if quietly:
                written = [t.data if version(t) == self.versions[i] else t for i, t in zip(mine, written, strict=True)]
            vec.copy_(written, [self.values[i] for i in mine])
        for (key, a), value in zip(places.arrays, self._arrays, strict=True):
            if only is None or key in only:
                a[...] = value

    def changed(self, known: Collection[int] = ()) -> set[int]:
        """The ids of the modules that were written to, or ``known`` to be: a module may hash by its state (torchmetrics)."""
        places = self.places
        found = {id(m) for m in places.parts} & set(known)
        if not places.same():
            found |= {id(h.owner) for h in places.holders if id(h.owner) not in found and h.replaced}
        return found | self.written(found)

    def tallies(self) -> dict[int, list[Tally]]:
        """A module's id → its counters and logs, where a pass has changed nothing of it but these."""
        found: dict[int, list[Tally]] = {}
        if self.places.same():
            return found
        for holder in (h for h in self.places.holders if h.replaced):
            found.setdefault(id(holder.owner), []).extend(holder.tallies() or [Tally(None, None, None, None)])
        written = self.written()
        return {key: each for key, each in found.items() if key not in written and all(t.place is not None for t in each)}

    def written(self, known: Collection[int] = ()) -> set[int]:
        """The ids of the modules with tensors or arrays that were written to, or ``known`` to be."""
        tensors = enumerate(zip(self.places.owners, self.places.tensors, strict=True))
        found = self.arrays_changed().union(known)
        for i, (key, t) in tensors:
            if key not in found and (version(t) != self.versions[i] or (self.values and not t.equal(self.values[i]))):
                found.add(key)
        return found | {key for (key, t), total in zip(self.places.many, self._sums, strict=False) if not total.equal(_sum(t))}

    def arrays_changed(self) -> set[int]:
        """The same of arrays alone."""
        pairs = zip(self.places.arrays, self._arrays, strict=False)
        return {key for (key, a), value in pairs if a.shape != value.shape or bool((a != value).any())}


def _sum(t: Tensor) -> Any:
    return t.detach().sum(dtype=torch.complex128 if t.is_complex() else torch.float64)


def version(t: Tensor) -> int:
    """Of its memory; writes to it count on, but for those of some kernels."""
    return -1 if t.is_inference() else t._version
