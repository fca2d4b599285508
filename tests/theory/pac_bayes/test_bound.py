"""The bounds in numbers: against decimals, a search over r, and torch's Gaussian KL."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch.distributions import Normal, kl_divergence

from theory.pac_bayes import final_step
from theory.pac_bayes.bound import Instance, check, check_order, exchange, fisher_sam, sam, sam_stated
from theory.verdict import Outcome

PLAIN = final_step.Instance(100, 1000, 0.05, 0.1, 0.1, 0.0, 10.0, 1.0)
scale = st.floats(-4, 4).map(lambda e: 10.0**e)


@st.composite
def anything(draw):
    constants = final_step.Instance(
        draw(st.integers(1, 10**8)),
        draw(st.integers(1000, 10**9)),
        draw(st.floats(1e-6, 0.99)),
        draw(scale),
        draw(scale),
        draw(st.floats(0, 0.99)),
        draw(scale),
        draw(scale),
        draw(scale),
    )
    return Instance(constants, draw(scale))


@settings(deadline=None)
@given(anything())
def test_no_constants_refute_either(drawn):
    assert check(drawn).outcome is Outcome.HOLDS
    assert check_order(drawn).outcome is Outcome.HOLDS


@given(st.floats(-3, 6).map(lambda e: 10.0**e))
def test_the_exchange_is_a_minimum(b):
    t, g = exchange(b)
    found = minimize_scalar(lambda s: math.exp(2 * s) / 2 + math.log1p(2 * b / math.exp(s)), bounds=(-20, 5), method="bounded")
    assert g <= found.fun * (1 + 1e-9) and g == pytest.approx(found.fun, rel=1e-6)
    assert t**2 * (t + 2 * b) == pytest.approx(2 * b, rel=1e-9)


def test_sams_exponent_is_a_gaussian_kl_at_its_best_variance():
    k, norm, sigma = 7, 3.0, 0.2
    center = torch.zeros(k, dtype=torch.float64)
    center[0] = norm

    def kl(log_variance):
        prior = Normal(torch.zeros(k, dtype=torch.float64), math.exp(log_variance / 2))
        return kl_divergence(Normal(center, sigma), prior).sum().item()

    best = minimize_scalar(kl, bounds=(-10, 10), method="bounded", options={"xatol": 1e-10}).fun
    assert best == pytest.approx(k / 2 * math.log1p(norm**2 / (k * sigma**2)), rel=1e-9)


def test_both_by_hand():
    assert sam(1, 2, 0.5, 1.0, 0.0).root == pytest.approx(math.sqrt(0.25 + math.log(4) + 2 * math.log(15)), rel=1e-14)
    assert sam(1, 2, 0.5, 1.0, 0.0).tail == pytest.approx(2**-0.5, rel=1e-15)
    assert sam_stated(1, 2, 0.5, 1.0, 0.0) == pytest.approx(math.sqrt(4 * math.log(4) + 8 * math.log(15)), rel=1e-14)
    n, k = 1000, 100
    inner = 0.5 * (math.sqrt(k) + math.sqrt(math.log(n))) ** 2 + math.log(n / 0.05) + k * math.log(201)
    terms = fisher_sam(PLAIN)
    assert terms.root == pytest.approx(math.sqrt(inner / 1998), rel=1e-14) and terms.tail == pytest.approx(1000**-0.5)
    assert terms.total == terms.tail + terms.root
    assert fisher_sam(replace(PLAIN, l_max=3.0)).total == pytest.approx(3 * terms.total)


@pytest.mark.parametrize("b, share", [(1.0, 1.3), (10.0, 0.6), (100.0, 0.3)])
def test_the_dimensions_from_which_on_it_is_vacuous(b, share):
    assert 2 / exchange(b)[1] == pytest.approx(share, abs=0.05)


def test_for_small_balls_both_have_the_same_leading_term():
    """½ k log(1/γ)/(n−1) a square; SAM's theorem, as stated, has four times as much."""
    n, k, gamma = 10**6, 1000, 1e-60
    ours = fisher_sam(replace(PLAIN, samples=n, dimension=k, gamma=gamma, radius=gamma)).root ** 2
    theirs = sam(k, n, 0.05, gamma, 10.0).root ** 2
    assert ours / theirs == pytest.approx(1, abs=0.03)
    assert sam_stated(k, n, 0.05, gamma, 10.0) ** 2 / theirs == pytest.approx(4, abs=0.03)


@given(st.integers(1, 10**8), st.integers(2, 10**9), st.floats(1e-6, 0.99), scale, scale)
def test_the_proof_of_sams_theorem_implies_what_it_states(k, n, delta, gamma, norm):
    """Four times the root's square is the statement's with an O(1) of 1; by (√a + √b)² ≤ 2(a + b) 3 pays for 1/√n too."""
    proved, stated = sam(k, n, delta, gamma, norm), sam_stated(k, n, delta, gamma, norm)
    assert 2 * proved.root <= math.sqrt(stated**2 + 1 / (n - 1)) * (1 + 1e-12)
    assert proved.total <= math.sqrt(stated**2 + 3 / (n - 1)) * (1 + 1e-12)


def test_sams_bound_is_no_more_than_half_of_its_statement_where_the_complexity_dominates():
    assert sam(81, 1000, 0.05, 0.05, 11.0).total < 0.6 < 1 < sam_stated(81, 1000, 0.05, 0.05, 11.0)


@pytest.mark.parametrize(
    "arguments, cause",
    [
        ((0, 10, 0.1, 1.0, 1.0), "dimension = 0"),
        ((1, 1, 0.1, 1.0, 1.0), "samples = 1"),
        ((1, 10, 1.0, 1.0, 1.0), "delta = 1.0 lies outside"),
        ((1, 10, 0.1, 0.0, 1.0), "rho = 0.0 is not positive"),
        ((1, 10, 0.1, 1.0, -1.0), "norm = -1.0 is not the length"),
        ((1, 10, 0.1, 1.0, float("nan")), "norm = nan is not the length"),
    ],
)
def test_bad_input_is_an_error(arguments, cause):
    with pytest.raises(ValueError, match=cause):
        sam(*arguments)
    with pytest.raises(ValueError, match=r"norm = 0\.0 is not positive"):
        Instance(PLAIN, 0.0)
    with pytest.raises(ValueError, match=r"b = 0\.0 is not positive"):
        exchange(0.0)
