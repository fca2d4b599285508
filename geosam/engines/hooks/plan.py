"""Which form the rows of each parameter take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core import Vectors, limits
from ...rows import Materialised, Rows
from .capture import Capture
from .formed import Formed
from .inputs import Inputs
from .layers import is_linear, is_linear_in_parameters, sequence
from .layout import Layout
from .linear import Linear


@dataclass(frozen=True)
class Part:
    """Some parameters with the operations that used them. form: how their rows are represented; why: by which rule."""

    index: tuple[int, ...]
    uses: Sequence[int]
    form: str
    why: str


class Plan:
    """Rows of a recorded forward pass, part by part.

    factors: a linear layer stays as its two factors (:class:`Linear`) where pairs of positions take fewer multiplications than
    forming rows, T²(d + o) ≤ d·o, or where the rows would take more than 256 MiB. rows: formed on demand, for everything
    else, and held up to 256 MiB in all.
    zero: parameters that the loss does not depend on. Func: those whose uses are not known to act on one sample at a time.
    """

    def __init__(self, seen: Capture, layouts: Sequence[Layout], reached: Sequence[bool], n: int, parameters: Vectors) -> None:
        self.seen, self.layouts, self.n, self.parameters = seen, layouts, n, parameters
        self.users: dict[int, list[int]] = defaultdict(list)
        for k, use in enumerate(seen.uses):
            for i in use.places.values() if reached[k] else ():
                self.users[i].append(k)
        self.parts = list(self._parts())
        self._inputs: dict[tuple[int, ...], Inputs] = {}

    def _parts(self) -> Iterator[Part]:
        left = set(range(len(self.parameters)))
        opaque = sorted(i for i in left if not self._sound(i))
        if opaque:
            yield Part(tuple(opaque), [], "Func", "not known to act on one sample at a time")
        left -= set(opaque)
        unused = sorted(i for i in left if not self.users[i])
        if unused:
            yield Part(tuple(unused), [], "zero", "not used by the loss")
        left -= set(unused)
        for i in sorted(left):
            if i in left:
                part = self._part(i)
                left -= set(part.index)
                yield part

    def _sound(self, i: int) -> bool:
        uses = [(self.seen.uses[k], self.layouts[k]) for k in self.users[i]]
        return i not in self.seen.opaque and all(layout.out is not None and not use.overwritten() for use, layout in uses)

    def _part(self, i: int) -> Part:
        """The part of parameter i, with the bias of the same layer."""
        users = self.users[i]
        uses = [self.seen.uses[k] for k in users]
        together = tuple(uses[0].places[place] for place in sorted(uses[0].places))
        alike = all(is_linear(use) and use.places == uses[0].places for use in uses)
        if not alike or not all(self.users[j] == users and self._sound(j) for j in together):
            return Part((i,), users, "rows", "formed when asked for")
        features, outputs = uses[0].flat[0].shape[-1], uses[0].shape[-1]
        length = sum(use.shape.numel() for use in uses) // (outputs * self.n)
        if length**2 * (features + outputs) <= features * outputs:
            return Part(together, users, "factors", f"T²(d + o) ≤ d·o with T = {length}, d = {features}, o = {outputs}")
        if 4 * self.n * features * outputs > limits.CHUNK:
            return Part(together, users, "factors", "rows would take more than 256 MiB")
        return Part(together, users, "rows", f"T²(d + o) > d·o with T = {length}, d = {features}, o = {outputs}")

    @property
    def left(self) -> list[int]:
        """The parameters that Func handles."""
        return [i for part in self.parts if part.form == "Func" for i in part.index]

    def rows(self, deltas: Sequence[Sequence[Tensor]]) -> list[tuple[Sequence[int], Rows]]:
        """Of all parts but Func's. deltas: for each of the K cotangents, for each use, the gradient of its output."""
        found: list[tuple[Sequence[int], Rows]] = []
        room = limits.CHUNK
        for part in self.parts:
            if part.form == "zero":
                zeros = [p.new_zeros(()).expand(self.n * len(deltas), *p.shape) for p in self._like(part)]
                found.append((part.index, Materialised(zeros)))
            elif part.form == "factors":
                found.append((part.index, self._factors(part, deltas)))
            elif part.form == "rows":
                size = self.n * len(deltas) * sum(p.numel() * p.element_size() for p in self._like(part))
                keep = size <= room
                room -= size if keep else 0
                found.append((part.index, self._formed(part, deltas, keep)))
        return found

    def _like(self, part: Part) -> list[Tensor]:
        return [self.parameters[i] for i in part.index]

    def _factors(self, part: Part, deltas: Sequence[Sequence[Tensor]]) -> Linear:
        axes = {k: axis for k in part.uses if (axis := self.layouts[k].out)}
        if part.index not in self._inputs:
            sequences = [sequence(self.seen.uses[k].flat[0], axis, self.n) for k, axis in axes.items()]
            self._inputs[part.index] = Inputs(_joined(sequences).to(deltas[0][part.uses[0]].dtype))
        drawn = [_joined([sequence(draw[k], axis, self.n) for k, axis in axes.items()]) for draw in deltas]
        places = self.seen.uses[part.uses[0]].places
        stacked = drawn[0].unsqueeze(0) if len(drawn) == 1 else torch.stack(drawn)
        return Linear(self._inputs[part.index], stacked, self._like(part), (1 in places, 2 in places))

    def _formed(self, part: Part, deltas: Sequence[Sequence[Tensor]], keep: bool) -> Formed:
        place = {i: k for k, i in enumerate(part.index)}
        uses = []
        for k in part.uses:
            use = self.seen.uses[k]
            places = {at: place[i] for at, i in use.places.items() if i in place}
            uses.append(
                (use if is_linear_in_parameters(use) else use.snapshot(), self.layouts[k], places, [d[k] for d in deltas])
            )
        return Formed(uses, self._like(part), self.n, keep)


def _joined(sequences: list[Tensor]) -> Tensor:
    """The positions of all operations, concatenated."""
    return sequences[0] if len(sequences) == 1 else torch.cat(sequences, 1)
