"""preSAM's preconditioned objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..core import InnerProduct, Norm, Vectors, check_instance
from ..observation import Metric, Needs, Objective, Observation, Remembering, State, as_metric
from .gradient import Gradient

Precondition = Callable[[Vectors], Vectors]


class Solved(list[Tensor]):
    """♯c with the report of the iteration that computed it, if any."""

    report: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Preconditioned(Remembering[Vectors], Objective):
    """c = D c', c' the covector of another objective, by default the gradient; the constraint is unchanged.

    by: a metric, and D is its ♯, D = G⁻¹ at θ: Preconditioned(DiagonalEmpiricalFisher(λ)) weighs an entry less, the larger
    its second moment. Or a function c' ↦ Dc', tensors in parameter order in and out, D linear and positive definite, for
    everything else (♭ is ``norm.flat``). With D ≠ I the first-order rise of ε* = ρ ♯(Dg)/‖Dg‖* is ⟨g, ε*⟩ ≤ ρ‖g‖*, with
    equality only where Dg is parallel to g: ε* is steepest for c and no longer for the loss. State: {"metric", "objective"}.
    Source: Zhang, Li & Giannakis 2025 (preSAM), whose objective preconditioner is D and whose constraint preconditioner is the
    metric. D's own report is under "covector" in that of ε*. Raises: TypeError for a metric that is no inner product.
    """

    by: Metric | Precondition
    objective: Objective = field(default_factory=Gradient)

    def __post_init__(self) -> None:
        check_instance("objective", self.objective, Objective)
        if isinstance(self.by, type | Norm) or not callable(self.by):
            object.__setattr__(self, "by", as_metric(self.by, "by"))

    @property
    def needs(self) -> Needs:
        """The needs of D and the objective."""
        return *self.objective.needs, *(self.by.needs if isinstance(self.by, Metric) else ())

    def step(self, observation: Observation, state: State) -> tuple[Vectors, State]:
        """Dc', with the states of the metric and the objective."""
        c, of_objective = self.objective.step(observation, state.get("objective", {}))
        if not isinstance(self.by, Metric):
            return self.by(c), _unless_empty(objective=of_objective)
        norm, of_metric = self.by.step(observation, state.get("metric", {}))
        if not isinstance(norm, InnerProduct):
            raise TypeError(
                f"Preconditioned(by={self.by!r}) needs an inner product, whose ♯ is linear; this is {norm!r}. Pass a function "
                "of the covector instead, or the metric itself as SAM's metric."
            )
        found = Solved(norm.sharp(c))
        found.report = norm.report
        return found, _unless_empty(metric=of_metric, objective=of_objective)


def _unless_empty(**states: State) -> State:
    return {name: state for name, state in states.items() if state}
