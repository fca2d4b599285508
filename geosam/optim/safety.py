"""Parameters, buffers and memory as they were, whatever is raised in a step and at whatever moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor

from ..core.undo import undisturbed, unless_raised
from ..observation import State
from .buffers import Buffers
from .groups import Groups
from .last import Last, Perturbed
from .rule import Rule

T = TypeVar("T")


class Safety:
    """What a step undoes when it ends, and when it is broken off."""

    def __init__(self, rule: Rule, groups: Groups, buffers: Buffers) -> None:
        self.rule, self.groups, self.buffers, self.parameters = rule, groups, buffers, groups.parameters
        self._memory: dict[str, State] = {}

    def remember(self) -> None:
        """Sort the memory for these parameters, and note it as it is."""
        self.rule.owners.sort(self.rule.memory, self.parameters, self.groups.names)
        self._memory = dict(self.rule.memory)  # states are replaced, never written to

    def whole(self, acts: Callable[[], T]) -> T:
        """What ``acts`` returns; where anything is raised, parameters, buffers and memory are those before the passes."""

        def undo() -> None:
            self.put_back()
            self.buffers.restore()
            self.rule.memory.update(self._memory)

        def all_acts() -> T:
            self.buffers.begin()
            found = acts()
            self.buffers.finish()
            return found

        return unless_raised(all_acts, undo)

    @contextmanager
    def displaced(self, first: Callable[[], Last]) -> Iterator[Perturbed]:
        """``first``, the first pass; inside, the parameters sit at θ + ε*; outside they are restored bit for bit, always."""
        move, inside = self.rule.move, True
        self.put_back()  # after an interrupt between two steps

        def realised() -> list[Tensor]:
            if not inside:
                raise RuntimeError("epsilon lives inside the perturbed() block; copy it there to keep it")
            return move.realised(self.parameters)

        try:
            yield Perturbed(first(), realised)
        finally:
            inside = False
            try:
                self.put_back()
            finally:
                self.put_back()  # for an interrupt in the first line of that call

    @undisturbed
    def put_back(self) -> None:
        """θ again, bit for bit; and the statistics that the second pass does not count for."""
        self.rule.move.restore()
        self.rule.statistics.restore()
