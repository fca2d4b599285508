"""The Fisher information of a Gaussian in four charts, and two Gaussians that look alike."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch.distributions import Normal, kl_divergence
from torch.func import grad, jacrev

from theory.gaussian_fisher import CHARTS, CLAIMS, Instance, check, check_example, fisher, instance, total_variation
from theory.verdict import Outcome

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.floats(1e-40, 1e40)


@st.composite
def instances(draw):
    mean, std, shift = draw(SIZES | st.floats(-100, 100)), draw(SIZES | st.floats(0.5, 50)), draw(SIZES | st.floats(5, 21))
    return Instance(mean, std, shift)


@settings(deadline=None)
@given(instances())
def test_no_gaussian_refutes_either_claim(drawn):
    for decide in (check, check_example):
        assert decide(drawn).outcome in (Outcome.HOLDS, Outcome.UNDECIDED)
        assert decide(drawn, altered=True).outcome in (Outcome.FAILS, Outcome.UNDECIDED)


@settings(deadline=None, max_examples=6)
@given(SEEDS)
def test_the_information_is_the_hessian_of_torchs_divergence_in_every_chart(seed):
    drawn = instance(seed)
    for chart in CHARTS:
        point = torch.tensor(chart.coordinates(drawn.mean, drawn.std), dtype=torch.float64)

        def normal(coordinates, moments=chart.moments):
            mean, variance = moments(*coordinates)
            return Normal(mean, torch.as_tensor(variance).sqrt(), validate_args=False)

        def normal_in_torch(coordinates, chart=chart, normal=normal):
            if chart.name == "(μ, log σ)":  # np.exp takes no tensor that is being differentiated
                return Normal(coordinates[0], coordinates[1].exp(), validate_args=False)
            return normal(coordinates)

        def kl(moved, here=normal_in_torch(point), made=normal_in_torch):
            return kl_divergence(here, made(moved))

        expected = jacrev(grad(kl))(point)
        steps = 1e-10 / np.sqrt(np.diag(expected.numpy()))
        assert np.allclose(fisher(drawn, chart, steps), expected.numpy(), rtol=1e-8)
        assert np.allclose(chart.information(drawn.mean, drawn.std), expected.numpy(), rtol=1e-8)


@settings(deadline=None, max_examples=20)
@given(st.floats(-3, 3), st.floats(0.2, 5), st.floats(-3, 3), st.floats(0.2, 5))
def test_total_variation_agrees_with_quadrature(m, s, n, r):
    # Densities that agree to a part in 1e6 differ by less than the quadrature can see.
    assume(abs(m - n) > 1e-4 or abs(s / r - 1) > 1e-4)
    points = sorted({m, n, m - 3 * s, m + 3 * s, n - 3 * r, n + 3 * r})

    def difference(y):
        p, q = (math.exp(-(((y - mean) / std) ** 2) / 2) / std for mean, std in ((m, s), (n, r)))
        return abs(p - q) / math.sqrt(8 * math.pi)

    expected = quad(difference, -60, 60, points=points, limit=500)[0]
    assert total_variation((m, s), (n, r)) == pytest.approx(expected, abs=1e-5)
    assert total_variation((n, r), (m, s)) == pytest.approx(total_variation((m, s), (n, r)), abs=1e-9)


def test_total_variation_of_a_gaussian_to_itself_and_to_a_shifted_one():
    assert total_variation((1.0, 2.0), (1.0, 2.0)) == 0
    assert total_variation((0.0, 2.0), (3.0, 2.0)) == pytest.approx(math.erf(3 / (4 * math.sqrt(2))))


def test_the_printed_example_is_the_first_instance():
    assert instance(0) == Instance(1.0, 10.0, 10.0) and CLAIMS["F7a"].cases == 1
    variance = total_variation((1.0, math.sqrt(1.01)), (1.0, math.sqrt(1.02)))
    std = total_variation((1.0, 1.01), (1.0, 1.02))
    assert (round(variance, 4), round(std, 4)) == (0.0024, 0.0048)
    assert kl_divergence(*(Normal(torch.tensor(1.0), torch.tensor(v).double().sqrt()) for v in (1.02, 1.01))) < 2.5e-5


def test_a_distance_that_was_not_far_would_be_noticed(monkeypatch):
    monkeypatch.setattr("theory.gaussian_fisher.FAR", 1.0)
    verdict = check_example(instance(0))
    assert verdict.outcome is Outcome.FAILS and "is 0.995 ‖θ‖, which is not far apart" in verdict.counterexample


def test_a_shift_that_is_small_beside_theta_decides_nothing():
    verdict = check_example(Instance(100.0, 10.0, 10.0))
    assert verdict.outcome is Outcome.UNDECIDED and "at least ½‖θ‖" in verdict.missing


@settings(deadline=None, max_examples=6)
@given(SEEDS)
def test_the_ellipse_of_section_three_is_the_ball_of_this_information(seed):
    std = instance(seed).std
    e1, e2 = np.random.default_rng(seed).normal(size=2)
    matrix = np.array(CHARTS[0].information(0.0, std))
    assert np.array([e1, e2]) @ matrix @ [e1, e2] == pytest.approx(e1**2 / std**2 + e2**2 / (std**2 / 2))


@pytest.mark.parametrize("wrong", [0.999, 1.001, 2.0])
@pytest.mark.parametrize("chart", range(4))
def test_a_wrong_entry_in_any_chart_is_noticed(monkeypatch, chart, wrong):
    name, _, _, matrix = CHARTS[chart]

    def scaled(m, s):
        return [[matrix(m, s)[0][0], matrix(m, s)[0][1]], [matrix(m, s)[1][0], wrong * matrix(m, s)[1][1]]]

    charts = (*CHARTS[:chart], CHARTS[chart]._replace(information=scaled), *CHARTS[chart + 1 :])
    monkeypatch.setattr("theory.gaussian_fisher.CHARTS", charts)
    verdict = check(instance(1))
    assert verdict.outcome is Outcome.FAILS and verdict.counterexample.startswith(name)


@pytest.mark.parametrize("mean, std, shift", [(0, 0, 1), (0, -1, 1), (np.nan, 1, 1), (0, np.inf, 1), (0, np.nan, 1)])
def test_what_is_no_gaussian_is_an_error(mean, std, shift):
    with pytest.raises(ValueError, match="is not a Gaussian; pass a finite mean and a finite std > 0"):
        Instance(mean, std, shift)


@pytest.mark.parametrize("shift", [0.0, -1.0, np.nan, np.inf])
def test_no_shift_is_an_error(shift):
    with pytest.raises(ValueError, match="pass a finite shift > 0"):
        Instance(0.0, 1.0, shift)
