"""The update of one step: what it keeps of the pass at θ, and what it makes of the gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core import Divergence, Norm, Vectors
from ..core import vectors as vec
from ..observation import Metric, Observation, name_of
from .groups import Groups
from .routes import Route
from .rule import Rule


class Turn:
    """metric: the one whose norm at θ the update reads, or None."""

    def __init__(self, rule: Rule, groups: Groups, route: Route) -> None:
        self.rule, self.groups, self.route, self.parameters = rule, groups, route, groups.parameters
        self.metric = rule.update.reads(rule.metric)

    @property
    def fields(self) -> tuple[Metric, ...]:
        """What it needs an observation at θ for."""
        return () if self.metric is None else (self.metric,)

    def keep(self, seen: Observation, finite: Tensor, ball: Norm | Divergence | None = None) -> Any | None:
        """What the update keeps of the pass at θ. ball: the geometry of the step's own metric, where it is there already."""
        rule, metric = self.rule, self.metric
        if metric is None:
            return rule.update.keep(seen.gradient, finite)
        own = metric == rule.metric and self.groups.radius is not None  # else ``ball`` is a product of the groups' balls
        if ball is None or not own:
            place = "metric" if own else "update"
            ball, rule.memory[place] = metric.step(seen, rule.memory[place])
            ball = self.route.sharing.geometry(ball, name_of(metric), seen)
        return rule.update.keep(seen.gradient, finite, ball)

    @torch.no_grad()
    def apply(self, kept: Any | None, scale: float | None = None) -> None:
        """The update, in ``.grad``; with a ball a process, the mean of theirs. scale: the gradients', by default the step's."""
        if kept is None:
            return
        known = self.route.scale if scale is None else scale
        self.rule.update.apply(kept, self.parameters, 1.0 if known is None else known)
        self._meet()

    @torch.no_grad()
    def settle(self, kept: Any, gradient: Vectors) -> None:
        """The same where both gradients are that at θ, ε* = 0."""
        if self.route.leaves():
            self.apply(kept)
            return
        turned = self.rule.update.at_rest(kept, self.route.sharing.mean(gradient), self.parameters)
        scale = self.route.scale
        for p, v in zip(self.parameters, turned if scale is None else vec.scale(turned, scale), strict=True):
            p.grad = v
        self._meet()

    def _meet(self) -> None:
        self.route.sharing.meet([p.grad for p in self.parameters if p.grad is not None])
