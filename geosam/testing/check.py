"""Runs the laws under Hypothesis, on a norm, a metric or an objective."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor

from ..core import Divergence, Norm, Vectors, check_instance
from ..norms import LowRank
from ..observation import Metric, Objective, Observation, as_metric, name_of, observe
from ..problem import Bound
from ..rows import Pulled
from ..solvers import solve
from . import laws as the_laws
from .drawn import Drawn
from .laws import Law
from .strategies import draws, problems, spaces

T = TypeVar("T")
Dense = Callable[[Bound], Tensor]

_QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)


class LawViolation(AssertionError):
    """A law does not hold. law: the name of its function in :mod:`geosam.testing.laws`."""

    def __init__(self, law: str, message: str) -> None:
        super().__init__(message)
        self.law = law


def check_norm(
    norm: Norm | SearchStrategy[Any],
    like: Vectors | None = None,
    *,
    examples: int | None = None,
    tolerance: float | None = None,
    laws: Sequence[Law] | None = None,
    covector: Callable[[Norm], SearchStrategy[Vectors]] | None = None,
) -> None:
    """Every law that fits a norm, on drawn covectors, tangent vectors, scales and radii.

    norm: a norm, or a Hypothesis strategy of norms. like: tensors with the shapes, type and device of its space; by default
    ``norm.like``, and where that is None spaces are drawn. examples: the number of cases, by default that of the Hypothesis
    profile. tolerance: relative; by default √eps of the space's type, which any ♯ can reach. laws: which, by default
    all that fit the type. covector: norm ↦ strategy of the covectors to try. Raises: LawViolation.
    """

    if not isinstance(norm, SearchStrategy):
        check_instance("norm", norm, Norm)

    @st.composite
    def located(draw: DrawFn) -> tuple[Norm, Drawn]:
        drawn = draw(norm) if isinstance(norm, SearchStrategy) else norm
        space = like if like is not None else drawn.like if drawn.like is not None else draw(spaces())
        rows = drawn.rows if isinstance(drawn, LowRank) else None
        return drawn, draw(draws(list(space), rows, covector=None if covector is None else covector(drawn)))

    def trial(case: tuple[Norm, Drawn]) -> None:
        these, drawn = case
        for law in the_laws.fitting(these) if laws is None else laws:
            _try(law, these, these, drawn, _tolerance(tolerance, drawn.c))

    examine(located(), trial, examples)


def check_metric(
    metric: Metric | Norm,
    problem: Bound | SearchStrategy[Bound] | None = None,
    *,
    examples: int | None = None,
    tolerance: float | None = None,
    dense: Dense | None = None,
    laws: Sequence[Law] | None = None,
) -> None:
    """Every law that fits what a metric yields, and those of the field itself: ``at`` is pure and deterministic.

    problem: ``problem.on(x, y)`` with your own model, or a strategy of these; by default small models with batches and losses
    are drawn, in float64 and float32. dense: bound problem ↦ G by definition, a [P, P] float64 tensor, however slowly; ♯ and
    both norms are compared with it. The rest is as in :func:`check_norm`, the gradient also a covector. Raises: LawViolation.
    """
    metric = as_metric(metric)
    fresh = copy.deepcopy(metric)  # has seen no point; a metric that keeps what it saw differs from it
    chosen = problems() if problem is None else problem

    @st.composite
    def located(draw: DrawFn) -> tuple[Bound, Observation, Norm | Divergence, Drawn]:
        bound = draw(chosen) if isinstance(chosen, SearchStrategy) else chosen
        seen = observe(bound, metric.needs, name_of(metric))
        geometry = metric.at(seen)
        rows = seen.gradient.rows if isinstance(seen.gradient, Pulled) else None
        drawn = draw(draws(list(seen.parameters), rows, [seen.gradient]))
        return bound, seen, geometry, drawn

    def trial(case: tuple[Bound, Observation, Norm | Divergence, Drawn]) -> None:
        bound, seen, geometry, drawn = case
        allowed = _tolerance(tolerance, drawn.c)

        def read(geometry: Norm | Divergence) -> list[Tensor]:
            return solve(geometry, seen.gradient, drawn.rho).epsilon

        for law in the_laws.FIELD + the_laws.fitting(geometry) if laws is None else laws:
            if law in the_laws.FIELD:
                _try(law, metric, copy.deepcopy(fresh), bound, read)
            else:
                _try(law, metric, geometry, drawn, allowed)
        if dense is not None:
            _try(the_laws.matches_its_definition, metric, geometry, drawn, allowed, dense(bound))

    examine(located(), trial, examples)


def check_objective(
    objective: Objective,
    problem: Bound | SearchStrategy[Bound] | None = None,
    *,
    examples: int | None = None,
    laws: Sequence[Law] | None = None,
) -> None:
    """The laws of an objective: its covector fits the space, its memory is explicit, and ``at`` is pure and deterministic.

    problem: as in :func:`check_metric`. Raises: LawViolation.
    """
    chosen, fresh = problems() if problem is None else problem, copy.deepcopy(objective)

    def trial(bound: Bound) -> None:
        for law in the_laws.OBJECTIVE if laws is None else laws:
            _try(law, objective, copy.deepcopy(fresh), bound, list)

    examine(chosen if isinstance(chosen, SearchStrategy) else st.just(chosen), trial, examples)


def examine(cases: SearchStrategy[T], trial: Callable[[T], None], examples: int | None = None) -> None:
    """Try every drawn case; the smallest that fails is raised. ``examples`` defaults to the profile's."""
    seen: list[LawViolation] = []

    def run(case: T) -> None:
        try:
            trial(case)
        except LawViolation as violation:
            seen.append(violation)
            raise

    phases = [p for p in settings().phases if p in (Phase.generate, Phase.shrink)]
    many = settings().max_examples if examples is None else examples
    how: dict[str, Any] = {
        "deadline": None,
        "database": None,
        "phases": phases,
        "suppress_health_check": _QUIET,
        "report_multiple_bugs": False,
    }
    fixed = settings(max_examples=many, **how)
    try:
        fixed(given(case=cases)(run))()
    except Flaky as flaky:
        if not seen:
            raise
        raise LawViolation(seen[-1].law, f"{seen[-1]} (not every time: what is checked is not deterministic)") from flaky


def _try(law: Law, owner: Any, *arguments: Any) -> None:
    try:
        law(*arguments)
    except AssertionError as error:
        statement = (law.__doc__ or "").split("\n")[0]
        message = f"{type(owner).__name__} breaks {law.__name__} — {statement} — {error}"
        raise LawViolation(law.__name__, message) from error


def _tolerance(tolerance: float | None, c: Vectors) -> float:
    return torch.finfo(c[0].dtype).eps ** 0.5 if tolerance is None else tolerance
