"""The radii of eq. 6 and eq. 8, and their ratio of √2."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from tests.theory.decided import verdicts
from tests.theory.models import direction, models, plain_models
from tests.theory.smallest import assert_hypothesis_finds
from theory.radii import CLAIMS, Gaussian, Instance, Softmax, check, crossing, instance
from theory.verdict import Outcome

SEEDS = st.integers(0, 2**32 - 1)


def test_the_stored_counterexample_is_the_smallest_that_hypothesis_finds():
    assert_hypothesis_finds(CLAIMS["F2a"], plain_models(), examples=100)


def test_the_counterexamples_show_the_budget_met_past_the_printed_radius():
    assert all("KL = γ² at ‖ε‖_F = 1." in verdict.counterexample for verdict in verdicts("F2a"))


@settings(deadline=None, max_examples=40)
@given(models(scales=(1.0, 10.0)))
def test_no_model_refutes_the_ratio(drawn):
    assert check(drawn).outcome in (Outcome.CORRECTED, Outcome.UNDECIDED)


@pytest.mark.parametrize("seed", range(6))
def test_the_crossing_is_a_bracketed_root(seed):
    drawn = instance(seed)
    epsilon = direction(drawn)
    found = crossing(drawn, epsilon, torch.tensor([0.01, 0.1], dtype=torch.float64))
    for radius, t in zip((0.01, 0.1), found.tolist(), strict=True):
        expected = brentq(lambda t, radius=radius: float(drawn.kl(t * epsilon)) - radius**2, 1e-6, 3 * radius, xtol=1e-14)
        assert t == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("mean, log_std", [(0.0, 0.0), (3.0, 1.0), (-1.0, -2.0)])
def test_along_the_mean_of_a_gaussian_the_ratio_is_exact(mean, log_std):
    theta, along = torch.tensor([mean, log_std]).double(), torch.tensor([1.0, 0.0]).double()
    drawn = Instance(Gaussian, torch.ones(1, 1).double(), theta, along)
    radius = torch.tensor([1e-3, 0.1, 1.0, 10.0]).double()
    torch.testing.assert_close(crossing(drawn, direction(drawn), radius), math.sqrt(2) * radius)


def test_a_budget_beyond_the_largest_divergence_is_never_spent():
    drawn = Instance(Softmax, torch.ones(1, 1).double(), torch.zeros(2).double(), torch.tensor([0.0, 1.0]).double())
    limit = math.sqrt(math.log(2))  # KL(p ‖ ½) ≤ log 2
    found = crossing(drawn, direction(drawn), torch.tensor([0.5, limit + 0.01, 2.0]).double())
    assert found[0].isfinite() and found[1:].isnan().all()


class WithFisher(Instance):
    """An instance with a wrong Fisher matrix."""

    def fisher(self):
        return 0.97 * super().fisher()


@pytest.mark.parametrize("seed", range(4))
def test_a_fisher_wrong_by_three_percent_is_noticed(seed):
    drawn = instance(seed)
    wrong = WithFisher(**{name: getattr(drawn, name) for name in drawn.__dataclass_fields__})
    assert check(wrong).outcome is Outcome.FAILS


def test_a_model_whose_scale_overflows_decides_nothing():
    theta, direction = torch.tensor([[1e-4, 0, 0], [1, 0, 1]]).double()
    verdict = check(Instance(Gaussian, torch.ones(1, 1).double(), theta, direction, hidden=1))
    assert verdict.outcome is Outcome.UNDECIDED and "does not overflow" in verdict.missing
