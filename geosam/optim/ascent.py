"""ε* from what was seen at θ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from ..core import Divergence, Loan, Norm, Perturbation, Vectors
from ..metrics.blockwise import product
from ..observation import Observation, State, name_of
from ..solvers import solve
from .groups import Groups
from .routes import Route
from .rule import Rule


class Ascent:
    """c = objective, geometry = metric at θ, ε* = argmax ⟨c, ε⟩ in the ball of the groups' radii; memory goes on by a step."""

    def __init__(self, rule: Rule, groups: Groups, route: Route) -> None:
        self.rule, self.groups, self.route, self.parameters = rule, groups, route, groups.parameters

    def solve(self, seen: Observation) -> tuple[Perturbation, Norm | Divergence]:
        """(ε*, the geometry)."""
        rule, memory, radius = self.rule, self.rule.memory, self.groups.radius
        loan = self._loan()
        c, memory["objective"] = self._covector(seen, memory["objective"])
        geometry = self._geometry(seen)
        found = solve(geometry, c, 1.0 if radius is None else radius, rule.solver, loan)
        if (stretch := self.groups.stretch) is not None:
            found = replace(found, scale=found.scale * stretch, radius=found.radius * stretch)
        rule.watch.check_length(found.beside)
        if found.memory:
            memory["solver"] = found.memory
        return found, geometry

    def _covector(self, seen: Observation, state: State) -> tuple[Vectors, State]:
        """(the objective's covector, its next state), where what the base optimizer maximises is to be lowered."""
        return self.rule.objective.step(replace(seen, gradient=self.groups.worse(seen.gradient)), state)

    def _geometry(self, seen: Observation) -> Norm | Divergence:
        """The metric's at θ; where groups have radii of their own, the product of their balls."""
        metric, memory = self.rule.metric, self.rule.memory
        if self.groups.radius is not None:
            geometry, memory["metric"] = metric.step(seen, memory["metric"])
        else:
            geometry, memory["metric"] = product(seen, self.groups.parts(metric), memory["metric"], one_metric=True)
        return self.route.sharing.geometry(geometry, name_of(metric), seen)

    def _loan(self) -> Loan:
        """What a solver is lent, made of the memory before this step."""
        rule, route = self.rule, self.route
        around, unit = self._around(rule.memory["objective"]), partial(rule.watch.unit, self.parameters)
        return Loan(rule.move.buffers, around, route.lands, rule.memory["solver"], unit, route.inner)

    def _around(self, state: State) -> Callable[[Vectors], Vectors]:
        """ε ↦ the objective's covector at θ + ε, with this memory; θ is restored on return."""

        def covector(epsilon: Vectors) -> Vectors:
            move, one = self.rule.move, torch.ones((), dtype=torch.float64, device=self.parameters[0].device)
            try:
                move.displace(self.parameters, Perturbation(epsilon, one, one, one, one > 0))
                seen = self.route.buffers.unwritten(partial(self.route.observe, self.rule.objective))
                return self._covector(seen, state)[0]
            finally:
                move.restore()

        return covector
