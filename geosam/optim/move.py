"""Writing θ + ε into the parameters and restoring θ bit for bit, also after an error or an interrupt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from ..core import Perturbation, Vectors
from ..core import vectors as vec
from ..core.layout import shares_storage
from ..core.sharded import own
from .gathered import Gathered


class Move(ABC):
    """Displaces parameters and restores them.

    An interrupt may come between any two lines: a parameter is recorded in ``_away`` before it is changed, and removed after
    it is restored, so that ``restore`` can be repeated.
    """

    example: ClassVar[str] = "geosam.Copy()"

    lifts = False
    """Whether the base optimizer steps on anything else than the parameters."""

    def __init__(self) -> None:
        self.buffers: list[Tensor] = []
        """Like the parameters, reused in every step: new memory costs more than the arithmetic. A solver may write the
        direction into them, and ``displace`` then reads it there."""
        self.state: dict[str, Any] = {}
        """What a checkpoint holds of it, a list with one entry a parameter."""
        self._away: list[tuple[Tensor, Tensor]] = []
        self._seen: list[tuple[Any, ...]] = []
        self._gathered = Gathered()
        """Copies of sharded parameters, which a move leaves behind."""

    @property
    def gathers(self) -> bool:
        """Whether FSDP2 gathers parameters for a pass."""
        return self._gathered.any

    def prepare(self, parameters: Vectors) -> None:
        """Before a first pass: if the parameters have changed, check them and allocate buffers. Nothing stays gathered."""
        seen = [(p.shape, p.dtype, p.get_device(), p.data_ptr()) for p in own(parameters)]
        if seen != self._seen:
            self.check(parameters)
            self._gathered.find(parameters)
            self.buffers = [torch.empty_like(p, requires_grad=False) for p in parameters]
            self._seen = seen
        self._gathered.drop()

    def displace(self, parameters: Vectors, perturbation: Perturbation) -> None:
        """θ ← θ + ε*."""
        if [p.data_ptr() for p in own(parameters)] != [address for *_, address in self._seen]:
            self.prepare(parameters)  # at another time than its first pass
        with torch.no_grad():
            self._displace(parameters, perturbation)
        self._gathered.drop()
        torch.clear_autocast_cache()  # it holds low-precision copies of the old weights

    def restore(self) -> None:
        """θ ← its value before ``displace``. An interrupt here is raised after everything is restored."""
        interrupt: KeyboardInterrupt | None = None
        while self._away:
            try:
                with torch.no_grad():
                    while self._away:
                        self._put_back(self._away)
                        self._gathered.drop()
                        self._away = []
            except KeyboardInterrupt as caught:
                interrupt = caught
        torch.clear_autocast_cache()
        if interrupt is not None:
            raise interrupt

    def lift(self, parameters: Vectors) -> None:
        """Before the base optimizer steps: give it the parameters that it is to step on."""

    def lower(self) -> None:
        """After that, whether it stepped or not."""

    def realised(self, parameters: Vectors) -> list[Tensor]:
        """θ' − θ as the parameters' precision holds it: bfloat16 rounds most of a small ε away."""
        before = {id(p): saved for p, saved in self._away}
        with torch.no_grad():
            if all(id(p) in before for p in parameters):
                return vec.add(parameters, [before[id(p)] for p in parameters], -1.0)
            return [p - before[id(p)] if id(p) in before else torch.zeros_like(p) for p in parameters]

    def check(self, parameters: Vectors) -> None:
        """ValueError where this kind of move would be wrong: entries of parameters that lie in one place move twice."""
        met = overlapping(parameters)
        if met is not None:
            i, j = met
            what = f"parameter {i} has several entries" if i == j else f"parameters {i} and {j} have entries"
            raise ValueError(
                f"{what} in one place in memory, which ε would move twice. Tie weights by one nn.Parameter, given to the "
                "optimizer once, and clone() what was made by expand() or as a view of another parameter."
            )

    def _apart(self, direction: Vectors) -> Vectors:
        """The direction, in memory of its own: the buffers are overwritten before it is read."""
        return [v.clone() if v is buffer else v for v, buffer in zip(direction, self.buffers, strict=True)]

    @abstractmethod
    def _displace(self, parameters: Vectors, perturbation: Perturbation) -> None: ...

    @abstractmethod
    def _put_back(self, away: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Give each parameter its own value again; may be repeated."""


class Copy(Move):
    """Saves a copy, adds ε in place, copies back: right for every parameter, at the memory of one more set of parameters."""

    def _displace(self, parameters: Vectors, perturbation: Perturbation) -> None:
        if not vec.reads_are_free(parameters):
            direction = self._apart(perturbation.direction)
            vec.copy_(self.buffers, parameters)
            self._away = list(zip(parameters, self.buffers, strict=True))
            vec.axpy_(parameters, perturbation.scale, direction, perturbation.finite)
        elif perturbation.finite and perturbation.scale != 0:
            scale = perturbation.scale.item()
            # one tensor at a time: the addition finds it in the cache after the copy
            for p, saved, v in zip(parameters, self.buffers, perturbation.direction, strict=True):
                moved = torch.add(p, v, alpha=scale) if v is saved else None
                saved.copy_(p)
                self._away.append((p, saved))
                if moved is None:
                    p.add_(v, alpha=scale)
                else:
                    p.copy_(moved)

    def _put_back(self, away: Sequence[tuple[Tensor, Tensor]]) -> None:
        vec.copy_([p for p, _ in away], [saved for _, saved in away])


class Swap(Move):
    """Writes θ + ε into a second buffer and points the parameters at it: 4 floats per parameter moved instead of 7.

    The original memory is never written, so restoring is free and exact. Refused (ValueError) where another tensor uses a
    parameter's storage and would not see the move: views, flat buffers, flattened RNN weights on a GPU, FSDP. Not detected:
    CUDA graphs captured with the parameters' addresses, and views made after the first step. Use :class:`Copy` for them.
    """

    def _displace(self, parameters: Vectors, perturbation: Perturbation) -> None:
        if not vec.reads_are_free(parameters):
            direction = self._apart(perturbation.direction)
            vec.copy_(self.buffers, parameters)
            vec.axpy_(self.buffers, perturbation.scale, direction, perturbation.finite)
        elif perturbation.finite and perturbation.scale != 0:
            scale = perturbation.scale.item()
            for p, buffer, v in zip(parameters, self.buffers, perturbation.direction, strict=True):
                torch.add(p, v, alpha=scale, out=buffer)
        else:
            return
        for p, buffer in zip(parameters, self.buffers, strict=True):
            self._away.append((p, p.data))
            p.data = buffer
        increment_version(parameters)  # a graph of before is refused by autograd, as after a write

    def _put_back(self, away: Sequence[tuple[Tensor, Tensor]]) -> None:
        for p, saved in away:
            p.data = saved
        increment_version([p for p, _ in away])

    def check(self, parameters: Vectors) -> None:
        """ValueError for a parameter whose storage is shared."""
        for i, p in enumerate(parameters):
            if type(p) not in (Tensor, nn.Parameter) or shares_storage(p):
                raise ValueError(
                    f"parameter {i} of shape {tuple(p.shape)} shares its storage with another tensor, which would not see a "
                    "swapped buffer. Use move=geosam.Copy()."
                )
        super().check(parameters)


def overlapping(parameters: Vectors) -> tuple[int, int] | None:
    """The positions of two parameters, or twice that of one, with entries in one place in memory; None if there are none."""
    spans = []
    parameters = own(parameters)
    for i, p in enumerate(parameters):
        if p.numel() and p.layout == torch.strided and p.data_ptr():
            if any(size > 1 and not stride for size, stride in zip(p.shape, p.stride(), strict=True)):
                return i, i
            reach = 1 + sum((size - 1) * stride for size, stride in zip(p.shape, p.stride(), strict=True))
            spans.append((str(p.device), p.data_ptr(), reach * p.element_size(), i))
    ends: dict[str, tuple[int, int]] = {}
    for device, start, size, i in sorted(spans):
        end, j = ends.get(device, (0, i))
        if start < end and _share(parameters[i], parameters[j]):
            return min(i, j), max(i, j)
        ends[device] = max((end, j), (start + size, i))
    return None


def _share(p: Tensor, q: Tensor) -> bool:
    """Whether an entry of each lies in one place; interleaved views may have none."""
    if p.untyped_storage().data_ptr() != q.untyped_storage().data_ptr() or p.dtype != q.dtype:
        return True
    marks = torch.zeros(p.untyped_storage().nbytes() // p.element_size(), dtype=torch.bool)
    marks.as_strided(p.shape, p.stride(), p.storage_offset()).fill_(True)
    return bool(marks.as_strided(q.shape, q.stride(), q.storage_offset()).any())
