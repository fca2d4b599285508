"""A problem on a batch, or on several: its first pass observes what is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...core import Landing
from ...observation import Field, Observation, name_of, observe_together
from ...problem import Bound, Together
from ..groups import Groups
from ..landing import arrive, lands
from ..rule import Rule
from ..trainers import STEPPED_INSIDE
from .abstract import Route


class ByProblem(Route):
    """Both passes are the problem's, which is differentiated at the scale."""

    problem: Bound | Together
    inner: Bound | Together

    def __init__(self, problem: Bound | Together, rule: Rule, groups: Groups, scale: float | None = None) -> None:
        found = problem.wrt(groups.parameters)
        found = found if scale is None else found.scaled(scale)
        super().__init__(found, found, rule, groups, scale)

    def look(self, fields: Sequence[Field[Any]]) -> Observation:
        """All that is asked for, in one pass."""
        asked = [(name_of(field), request) for field in fields for request in field.needs]
        for who, request in asked:
            request.check(self.inner.joined, who)
        self.sharing.check(self.inner, asked, self.rule.solver)
        return observe_together(self.inner, tuple(request for _, request in asked), name_of(fields[0]))

    def again(self, kept: Any | None, landing: Landing | None) -> Tensor:
        """The problem's own pass, or the solver's forward pass and its backward one."""
        loss = self.problem() if landing is None else arrive(self.problem.joined, self.groups.parameters, landing)
        if all(p.grad is None for p in self.groups.parameters):
            raise RuntimeError(STEPPED_INSIDE)
        return loss

    def leaves(self) -> bool:
        """An observation leaves none."""
        return False

    def lands(self) -> bool:
        """Where nothing else sees the second pass."""
        return isinstance(self.problem, Bound) and lands(self.problem, self.groups.parameters)
