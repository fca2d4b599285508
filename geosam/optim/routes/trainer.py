"""A trainer's closure around a problem."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ...core import Landing
from ...observation import Field, Observation
from ...problem import Bound
from ..groups import Groups
from ..rule import Rule
from .abstract import Route
from .problem import ByProblem


class ByTrainer(Route):
    """The first pass is the problem's; the second calls the closure, and so does what the trainer adds."""

    def __init__(self, closure: Callable[[], Any], problem: Bound, rule: Rule, groups: Groups) -> None:
        self._first = ByProblem(problem, rule, groups)
        super().__init__(closure, self._first.problem, rule, groups)

    def look(self, fields: Sequence[Field[Any]]) -> Observation:
        """Of the problem."""
        return self._first.look(fields)

    def again(self, kept: Any | None, landing: Landing | None) -> Tensor:
        """Of the closure."""
        return self.once()

    def leaves(self) -> bool:
        """After a call, for what the trainer adds to a pass is done in every step."""
        self.once()
        return True
