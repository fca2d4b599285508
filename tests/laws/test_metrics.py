"""Every law, on every metric and objective, in float64 and float32, each metric against its definition."""

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st

import geosam
from geosam import metrics
from geosam.testing import check_metric, check_norm, check_objective, laws, strategies
from geosam.testing.check import examine
from tests.fishers import rows_of
from tests.laws import oracles
from tests.laws.metric_cases import CASES, OBJECTIVES, label

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def examples(share=1.0):
    """The profile's are shared out between the two types."""
    return max(2, round(settings().max_examples * share / 2))


def a_problem():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    return geosam.Problem(model, torch.nn.CrossEntropyLoss()).on(torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 1, 0]))


def of_the_rounding(case):
    """Without what does not depend on the type: what a field reads and leaves behind, and G by columns where it is known."""
    fitting = laws.fitting(case.metric.at(a_problem()))
    return [law for law in fitting if case.dense is None or law is not laws.matches_its_own_matrix]


@DTYPES
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_laws_hold(case, dtype):
    tolerance = case.exact if dtype == torch.float64 else case.rounded
    smooth = isinstance(case.metric, metrics.KLExact)
    problems = strategies.problems([dtype], smooth)
    chosen = None if dtype == torch.float64 else of_the_rounding(case)
    check_metric(case.metric, problems, examples=examples(case.share), tolerance=tolerance, dense=case.dense, laws=chosen)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=label)
def test_the_laws_of_objectives_hold(objective):
    check_objective(objective, examples=examples())


@DTYPES
def test_kl_is_what_its_definition_says_and_its_local_norm_an_inner_product(dtype):
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5

    def trial(case):
        bound, drawn = case
        divergence = metrics.KLExact(metrics.Euclidean()).at(bound)
        laws.matches_the_divergence_by_definition(divergence, drawn, tolerance, oracles.kl(bound))
        for law in (laws.inner_is_symmetric, laws.inner_is_positive, laws.flat_is_linear):
            law(divergence.local_norm(0.1), drawn, 1e-2)

    cases = strategies.problems([dtype]).flatmap(
        lambda bound: strategies.draws(list(bound.parameters)).map(lambda drawn: (bound, drawn))
    )
    examine(cases, trial, examples())


def test_float32_at_damping_1e_8_matches_a_dense_float64_solve():
    """The batch gradient remembers that it lies in the row space; a covector that does not loses every digit here."""

    def trial(bound):
        seen = geosam.observe(bound, metrics.EmpiricalFisher().needs)
        unit = torch.eye(bound.n, dtype=torch.float64)
        rows = torch.stack([torch.cat([t.reshape(-1) for t in rows_of(seen).vjp(e)]) for e in unit])
        dense = rows.T @ rows / bound.n + 1e-8 * torch.eye(rows.shape[1], dtype=torch.float64)
        want = torch.linalg.solve(dense, rows.mean(0))
        want *= 0.05 / (rows.mean(0) @ want).sqrt()
        found = geosam.solve(metrics.EmpiricalFisher(1e-8).at(seen), seen.gradient, 0.05)
        got = torch.cat([t.double().reshape(-1) for t in found.epsilon])
        assert (got - want).norm() <= 1e-4 * want.norm()

    examine(strategies.problems([torch.float32]), trial)


AT_ITS_OPTIMUM = (laws.reaches_the_radius, laws.attains_the_dual_norm, laws.sharp_keeps_the_length)
AND_AROUND_IT = (*AT_ITS_OPTIMUM, laws.no_neighbour_does_better, laws.obeys_hoelder)


@pytest.mark.parametrize(
    "metric, kept",
    [
        (metrics.Euclidean(), AND_AROUND_IT),
        (metrics.ParameterScaled(), AND_AROUND_IT),
        (metrics.GradientMagnitude(), AND_AROUND_IT),
        (metrics.GradientMagnitude(1.0, 1e-6), AND_AROUND_IT),
        (metrics.Monge(), AT_ITS_OPTIMUM),  # at ‖g‖ = 1e18 float32 cannot tell a vector across g from one that is not
    ],
    ids=["Euclidean", "ParameterScaled", "GradientMagnitude(1, 1)", "GradientMagnitude(1, 1e-6)", "Monge"],
)
def test_gradients_of_every_scale_ascend_in_their_own_metric(metric, kept):
    def trial(case):
        seen, drawn = case
        for law in kept:
            law(metric.at(seen), drawn, 1e-5)

    def with_its_gradient(seen):
        like = list(seen.parameters)
        return strategies.draws(like, covector=st.just(seen.gradient)).map(lambda drawn: (seen, drawn))

    examine(strategies.observations([torch.float32]).flatmap(with_its_gradient), trial)


def test_a_user_s_own_problem_can_be_passed():
    bound = a_problem()
    check_metric(metrics.EmpiricalFisher(), bound, examples=2)
    check_norm(metrics.EmpiricalFisher().at(bound), examples=2)


@pytest.mark.parametrize(
    "metric",
    [
        metrics.Euclidean(),
        metrics.GradientMagnitude(),
        metrics.Monge(),
        metrics.Fisher(0.1),
        metrics.KLExact(metrics.Monge()),
    ],
    ids=lambda metric: type(metric).__name__,
)
def test_a_look_leaves_no_trace_on_batch_statistics_or_random_numbers(metric):
    layers = (torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Tanh(), torch.nn.Dropout(), torch.nn.Linear(4, 2))
    problem = geosam.Problem(torch.nn.Sequential(*layers).train(), torch.nn.CrossEntropyLoss())
    bound = problem.on(torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 1, 0]))
    check_metric(metric, bound, laws=laws.FIELD, examples=2)
    assert int(layers[1].num_batches_tracked) == 0
