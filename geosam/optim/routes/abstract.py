"""What a route is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ...core import Landing
from ...observation import Field, Observation
from ...observation.closures import run
from ...problem import Bound, Together
from ..buffers import Buffers
from ..groups import Groups
from ..masks import models
from ..processes import inside
from ..rule import Rule
from ..sharing import Sharing


class Route(ABC):
    """The passes of one step.

    source: what is called for a pass that leaves its gradients in ``.grad``. problem: what is observed; None with a closure
    alone. inner: the same by the module that a wrapper wraps. scale: a GradScaler's, which gradients in ``.grad`` carry.
    """

    only_pass = False
    """Whether the observation is the step's only pass."""

    def __init__(
        self,
        source: Callable[[], Any],
        problem: Bound | Together | None,
        rule: Rule,
        groups: Groups,
        scale: float | None = None,
    ) -> None:
        self.source, self.problem, self.rule, self.groups, self.scale = source, problem, rule, groups, scale
        around = rule.replicas.around(problem, groups.parameters)
        self.inner = None if problem is None else inside(problem, around)
        self.sharing = Sharing(rule.ball, problem, groups.parameters, scale is not None, around)
        self.buffers = Buffers(rule.statistics, models(self.inner), groups.parameters)

    def call(self) -> Any:
        """What the source returns; the modules that it calls are noted."""
        with self.buffers.calls(self.source):
            return self.source()

    def once(self) -> Tensor:
        """A pass at the parameters as they are, its gradients in ``.grad``; its loss."""
        return run(self.call, self.groups.parameters)

    def observe(self, *fields: Field[Any]) -> Observation:
        """What the fields need, at the parameters as they are. Raises: TypeError for one that needs more than there is."""
        return self.sharing.observed(self.look(fields))

    @abstractmethod
    def look(self, fields: Sequence[Field[Any]]) -> Observation:
        """The same in this process."""

    @abstractmethod
    def again(self, kept: Any | None, landing: Landing | None) -> Tensor:
        """The second pass, its gradients in ``.grad``; its loss.

        kept: what the update kept of the first one. landing: the solver's forward pass.
        """

    @abstractmethod
    def leaves(self) -> bool:
        """Whether ``.grad`` holds the source's own pass after an observation at θ, which a trainer's closure makes now."""

    def lands(self) -> bool:
        """Whether a forward pass of the solver may replace that of the second pass."""
        return False
