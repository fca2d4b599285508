"""Several steps of projected ascent on one batch, in any norm."""

from __future__ import annotations

from ..core import Norm, Perturbation, check_instance
from ..core.undo import undisturbed
from ..observation import Metric, as_metric, name_of, observe
from ..problem import Bound
from ..solvers import MultiStep, solve


@undisturbed
def ascend(point: Bound, metric: Metric | Norm, rho: float, steps: int = 1, step: float = 1.0) -> Perturbation:
    """ε of norm at most rho after ``steps`` of projected ascent on a bound problem, from the current parameters.

    metric: its norm at θ is the ball. steps, step: as in :class:`geosam.solvers.MultiStep`; one step is :func:`geosam.solve`.
    Nothing is changed, and dropout has one mask for all steps. Raises: TypeError for a plain closure or a divergence.
    """
    check_instance("a batch", point, Bound)
    metric = as_metric(metric)
    seen = observe(point, metric.needs, name_of(metric))
    surface = point.surface(seen.parameters, wide=False)
    return solve(metric.at(seen), seen.gradient, rho, MultiStep(steps, step, surface.gradient))
