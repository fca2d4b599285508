"""Every law has a wrong geometry that it, by name, refutes; and the right version of that geometry passes it."""

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import nn

import geosam
from geosam import metrics, norms, objectives
from geosam.testing import LawViolation, check_metric, check_norm, check_objective, laws, strategies
from geosam.testing.check import examine
from tests.laws import oracles
from tests.meta import wrong_fields as fields
from tests.meta import wrong_norms as wrong

FLOAT64, FLOAT32 = torch.float64, torch.float32


@dataclass(frozen=True)
class Mutant:
    """wrong and right: what ``run(what, laws, examples)`` is given; ``law`` lets the second pass and not the first."""

    name: str
    law: Callable
    wrong: object
    right: object
    run: Callable


WRONG, RIGHT = 30, 3
"""Examples: until a law refutes, and enough that one which always refutes would be seen."""


def on_norms(kind, laws, examples):
    """A class of norms of a drawn diagonal, on spaces of two types."""
    drawn = strategies.spaces((FLOAT64, FLOAT32)).flatmap(lambda like: strategies.diagonals(like, decades=4))
    check_norm(drawn.map(kind), laws=laws, examples=examples)


def on_metrics(metric, laws, examples):
    check_metric(metric, strategies.problems([FLOAT64], smooth=True), laws=laws, examples=examples)


def on_objectives(objective, laws, examples):
    check_objective(objective, strategies.problems([FLOAT32]), laws=laws, examples=examples)


def against(dense):
    """The metric against its definition."""

    def run(metric, laws, examples):
        check_metric(metric, strategies.problems([FLOAT64]), laws=[], dense=dense, examples=examples)

    return run


def _with_draws(cases):
    return cases.flatmap(lambda bound: strategies.draws(list(bound.parameters)).map(lambda drawn: (bound, drawn)))


def directly(call):
    """``call(what, bound, drawn)``, where a law needs more than the geometry."""

    def run(what, chosen, examples):
        def trial(case):
            try:
                call(what, *case)
            except AssertionError as error:
                raise LawViolation(chosen[0].__name__, str(error)) from error

        examine(_with_draws(strategies.problems([FLOAT64], smooth=True)), trial, examples)

    return run


def against_the_definition(metric, bound, drawn):
    laws.matches_the_divergence_by_definition(metric.at(bound), drawn, 1e-8, oracles.kl(bound))


def with_the_solver(solver, bound, drawn):
    laws.meets_its_budget(metrics.KLExact(metrics.Euclidean()).at(bound), drawn, 1e-8, solver)


def flattened(norm, bound, drawn):
    laws.list_is_one_flat_tensor(norm, drawn, 1e-10, norm)


def compiled(norm, chosen, examples):
    torch._dynamo.reset()
    try:
        laws.compiled_is_eager(norm, [torch.tensor([1.0, -2.0])], 0.1, 1e-6)
    except AssertionError as error:
        raise LawViolation(chosen[0].__name__, str(error)) from error


def norm_mutant(name, law, kind, right=wrong.Right):
    return Mutant(name, law, kind, right, on_norms)


def kl_mutant(name, law, **terms):
    return Mutant(name, law, fields.AlteredKL(terms=terms), fields.AlteredKL(), on_metrics)


def squared(d):
    return norms.JointBall([norms.Block([i], wrong.Right([t]), 3.0 + i) for i, t in enumerate(d)], d)


RIGHT_KL = metrics.KLExact(metrics.Euclidean())
EMPIRICAL = metrics.EmpiricalFisher(0.01)

MUTANTS = [
    norm_mutant("an exponent of −2", laws.no_neighbour_does_better, wrong.WrongExponent),
    norm_mutant("a missing square root", laws.reaches_the_radius, wrong.WithoutSquareRoot),
    norm_mutant("ρ unscaled", laws.reaches_the_radius, wrong.UnscaledRadius),
    norm_mutant("normalised by ‖♯c‖₂", laws.reaches_the_radius, wrong.EuclideanNormaliser),
    norm_mutant("‖ε‖ from Euclidean length", laws.sharp_keeps_the_length, wrong.EuclideanLength),
    norm_mutant("the sign lost", laws.attains_the_dual_norm, wrong.LostSign),
    norm_mutant("a ♯ of degree 0", laws.sharp_is_homogeneous, wrong.UnitSharp),
    norm_mutant("half the dual norm", laws.obeys_hoelder, wrong.HalfTheDualNorm),
    norm_mutant("sharp and ascend differ", laws.ascend_is_sharp_and_dual_norm, wrong.OtherSharp),
    norm_mutant("NaN multiplied, not selected", laws.selects_away_what_is_not_finite, wrong.MultipliedByAMask),
    norm_mutant("0/0", laws.sends_zero_to_zero, wrong.DividedByItsOwnZero),
    norm_mutant("the type promoted", laws.keeps_type_shape_and_device, wrong.Promoted),
    norm_mutant("squares in float32", laws.ignores_the_scale_of_the_covector, wrong.SquaredInItsOwnPrecision),
    norm_mutant("a ♯ with a memory", laws.is_deterministic, wrong.Stateful),
    norm_mutant("a ♯ in place", laws.leaves_its_arguments_alone, wrong.InPlace),
    norm_mutant("‖v‖ + ‖v‖²", laws.norm_is_homogeneous, wrong.NotHomogeneous),
    norm_mutant("p = ½", laws.norm_obeys_the_triangle, wrong.BelowOne),
    norm_mutant("block weights not squared", laws.sharp_keeps_the_length, wrong.WeightNotSquared, squared),
    norm_mutant("G not symmetric", laws.inner_is_symmetric, wrong.Lopsided, wrong.RightProduct),
    norm_mutant("G not positive", laws.inner_is_positive, wrong.Indefinite, wrong.RightProduct),
    norm_mutant("damping in ♯ alone", laws.flat_inverts_sharp, wrong.DampedInSharpOnly, wrong.RightProduct),
    norm_mutant("♯ from its own argument", laws.sharp_is_linear, wrong.RecomputedMagnitude, wrong.RightProduct),
    norm_mutant("a cubic ♭", laws.flat_is_linear, wrong.CubicFlat, wrong.RightProduct),
    norm_mutant("no damping in ‖·‖", laws.matches_its_own_matrix, wrong.NormWithoutItsDamping, wrong.RightProduct),
    Mutant(
        "ḡ² sold as the per-sample diagonal",
        laws.matches_its_definition,
        metrics.GradientMagnitude(1.0, 0.01),
        metrics.DiagonalEmpiricalFisher(0.01),
        against(oracles.diagonal_empirical_fisher(0.01)),
    ),
    Mutant(
        "per-sample gradients divided by n",
        laws.matches_its_definition,
        fields.WrongRows(-1.0),
        EMPIRICAL,
        against(oracles.empirical_fisher(0.01)),
    ),
    Mutant(
        "a Fisher summed over samples",
        laws.matches_its_definition,
        fields.WrongRows(0.5),
        EMPIRICAL,
        against(oracles.empirical_fisher(0.01)),
    ),
    Mutant("a metric that writes .grad", laws.leaves_the_problem_alone, fields.WritesGradients(), EMPIRICAL, on_metrics),
    Mutant("a metric that moves θ", laws.leaves_the_problem_alone, fields.MovesParameters(), EMPIRICAL, on_metrics),
    Mutant("a metric that counts", laws.at_is_deterministic, fields.Counting(), EMPIRICAL, on_metrics),
    Mutant("a metric that keeps", laws.at_is_deterministic, fields.KeepsTheFirst(), EMPIRICAL, on_metrics),
    Mutant("a look behind", laws.sees_only_what_it_needs, fields.LooksBehindTheEvidence(), EMPIRICAL, on_metrics),
    kl_mutant("KL without its ½", laws.its_hessian_is_the_local_norm, times=2.0),
    kl_mutant("KL with a slope", laws.is_flat_at_zero, slope=0.1),
    kl_mutant("KL with an offset", laws.vanishes_at_zero, offset=1e-3),
    kl_mutant("KL less a square", laws.is_nowhere_negative, bend=-5.0),
    Mutant(
        "KL with its arguments swapped",
        laws.matches_the_divergence_by_definition,
        fields.AlteredKL(kind=fields.Swapped),
        RIGHT_KL,
        directly(against_the_definition),
    ),
    Mutant("a budget overspent", laws.meets_its_budget, fields.Overspent(), None, directly(with_the_solver)),
    Mutant(
        "an average from zero",
        laws.first_step_has_no_memory,
        fields.StartsFromZero(),
        objectives.Smoothed(0.9),
        on_objectives,
    ),
    Mutant(
        "a state written into",
        laws.its_memory_is_explicit,
        fields.WritesIntoItsState(),
        objectives.Smoothed(0.9),
        on_objectives,
    ),
    Mutant("c in float64", laws.its_covector_fits_the_space, fields.Widened(), objectives.Gradient(), on_objectives),
    Mutant(
        "spectral taken entry by entry",
        laws.list_is_one_flat_tensor,
        norms.Spectral(),
        norms.Sup(),
        directly(flattened),
    ),
    Mutant("a host read in ♯", laws.compiled_is_eager, wrong.ReadsTheHost(), norms.Identity(), compiled),
]

EVERY_LAW: set[Callable] = {*laws.NORM, *laws.INNER_PRODUCT, *laws.DIVERGENCE, *laws.OBJECTIVE, *laws.WITH_AN_ORACLE}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_law_refutes_the_mutant_and_not_what_is_right(mutant):
    with pytest.raises(LawViolation) as found:
        mutant.run(mutant.wrong, [mutant.law], WRONG)
    assert found.value.law == mutant.law.__name__
    mutant.run(mutant.right, [mutant.law], RIGHT)


def name_of(law: Any) -> str:
    return law.__name__


@pytest.mark.parametrize("law", sorted(EVERY_LAW, key=name_of), ids=name_of)
def test_every_law_refutes_something(law):
    assert law in {mutant.law for mutant in MUTANTS}


@pytest.mark.parametrize("kind", [wrong.EuclideanNormaliser, wrong.Lopsided], ids=lambda kind: kind.__name__)
def test_the_whole_suite_refutes_it_too(kind):
    with pytest.raises(LawViolation):
        on_norms(kind, None, WRONG)


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.run is on_norms], ids=lambda mutant: mutant.name)
def test_the_whole_suite_has_the_law_that_refutes_it(mutant):
    assert mutant.law in laws.fitting(mutant.wrong([torch.ones(2, dtype=FLOAT64)]))


def test_kl_with_swapped_arguments_has_the_same_hessian():
    """The two directions of KL differ from the third order on: every law of a divergence holds for both."""
    check_metric(fields.AlteredKL(kind=fields.Swapped), strategies.problems([FLOAT64], smooth=True), examples=RIGHT)


def test_a_violation_names_the_law_its_statement_and_the_numbers():
    norm = wrong.EuclideanNormaliser([torch.tensor([4.0, 4.0], dtype=FLOAT64)])
    said = "EuclideanNormaliser breaks reaches_the_radius — ‖ε*‖ = ρ. — ‖ε*‖: 2 should be 1; relative error 1 exceeds 1.49e-08"
    settings.load_profile("ci")
    with pytest.raises(LawViolation, match=re.escape(said)):
        check_norm(norm, laws=[laws.reaches_the_radius])


def test_a_law_that_fails_at_random_is_still_a_violation():
    class Erratic(wrong.Right):
        calls = 0

        def norm(self, v):
            type(self).calls += 1
            return super().norm(v) * (2.0 if type(self).calls == 20 else 1.0)

    with pytest.raises(LawViolation, match="not deterministic"):
        check_norm(Erratic([torch.ones(2, dtype=FLOAT64)]), laws=[laws.reaches_the_radius])


def test_laws_know_a_geometry_by_its_type():
    assert laws.fitting(norms.Sup()) == laws.NORM
    assert laws.fitting(norms.Identity()) == laws.NORM + laws.INNER_PRODUCT
    with pytest.raises(TypeError, match="none of them"):
        laws.fitting(functools.partial(math.sqrt))


def test_a_user_s_norm_takes_three_lines():
    class Taxicab(geosam.Norm):
        """‖v‖ = Σ|vᵢ|, all of ε on one coordinate."""

        def norm(self, v):
            return sum(t.double().abs().sum() for t in v)

        def ascend(self, c):
            flat = torch.cat([t.reshape(-1) for t in c])
            i = flat.abs().argmax()
            sharp = torch.zeros_like(flat).index_fill(0, i, 1) * flat[i]
            parts = sharp.split([t.numel() for t in c])
            return [p.reshape(t.shape) for p, t in zip(parts, c, strict=True)], flat[i].abs().double()

    check_norm(Taxicab())


def test_a_problem_refuses_an_engine_whose_rows_are_divided_by_n():
    """No law is needed: the rows' mean must be the batch gradient."""
    bound = geosam.Problem(nn.Linear(3, 2), nn.CrossEntropyLoss()).on(torch.eye(3), torch.tensor([0, 1, 0]))
    with pytest.raises(ValueError, match="do not add up to the gradient of the batch"):
        metrics.EmpiricalFisher(0.01, engine=fields.DividedByN()).at(bound)
