"""Neither Kullback-Leibler divergence vanishes, their mean is Jeffreys' divergence halved, and the midpoint makes it ⅛."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.spatial.distance import jensenshannon
from torch.distributions import Normal, kl_divergence

from tests.theory.decided import verdicts
from tests.theory.models import distribution, models, plain_models
from tests.theory.smallest import assert_hypothesis_finds
from theory.jensen_shannon import CLAIMS, Gaussian, Instance, Softmax, check, divergences, instance
from theory.verdict import Outcome

SEEDS = st.integers(0, 2**32 - 1)


def test_the_stored_counterexample_is_the_smallest_that_hypothesis_finds():
    assert_hypothesis_finds(CLAIMS["F3"], plain_models(), examples=100)


def test_the_counterexamples_show_a_second_term_that_does_not_vanish():
    for verdict in verdicts("F3"):
        assert "KL(p_θ ‖ p_{θ+ε})" in verdict.counterexample and "not 0.0 t²" in verdict.counterexample


@settings(deadline=None, max_examples=40)
@given(models(scales=(1.0, 10.0)))
def test_no_model_refutes_the_three_coefficients(drawn):
    assert check(drawn).outcome in (Outcome.CORRECTED, Outcome.UNDECIDED)


@pytest.mark.parametrize("seed", range(8))
def test_the_divergences_agree_with_torch_scipy_and_quadrature(seed):
    drawn = instance(seed)
    epsilon = drawn.direction / 3
    old, new = drawn.outputs(drawn.theta), drawn.outputs(drawn.theta + epsilon)
    found = divergences(drawn, epsilon)
    p, q = (distribution(drawn.family, outputs) for outputs in (old, new))
    if drawn.family is Softmax:
        middle = np.mean(jensenshannon(old.softmax(1), new.softmax(1), axis=1) ** 2)
    else:
        middle = np.mean([by_quadrature(*row) for row in torch.cat([old, new], 1).tolist()])
    torch.testing.assert_close(found[0], kl_divergence(q, p).mean())
    torch.testing.assert_close(found[1], kl_divergence(p, q).mean())
    assert found[2].item() == pytest.approx(middle, rel=1e-4)


def by_quadrature(mean, log_std, other_mean, other_log_std):
    """Jensen-Shannon by its definition, with the midpoint of the two densities."""
    first, second = Normal(mean, np.exp(log_std)), Normal(other_mean, np.exp(other_log_std))

    def integrand(y):
        p, q = (density.log_prob(torch.tensor(y, dtype=torch.float64)).exp().item() for density in (first, second))
        m = (p + q) / 2
        return sum(x * np.log(x / m) for x in (p, q) if x > 0) / 2

    reach = 12 * max(np.exp(log_std), np.exp(other_log_std)) + abs(mean - other_mean)
    return quad(integrand, mean - reach, mean + reach, limit=200, points=[mean, other_mean])[0]


@settings(deadline=None, max_examples=10)
@given(SEEDS)
def test_jensen_shannon_is_symmetric_bounded_and_below_the_mean_of_both(seed):
    drawn = instance(seed)
    forward, backward, middle = divergences(drawn, drawn.direction / 3)
    assert 0 <= middle <= min(np.log(2), (forward + backward).item() / 8 * (1 + 1e-6))


class Vanishing(Gaussian):
    """What the footnote says: the second divergence vanishes."""

    @staticmethod
    def kl(new, old):
        return Gaussian.kl(new, old) * (new[:, 1] > old[:, 1])


def test_a_second_divergence_that_vanished_would_be_noticed():
    theta, direction = torch.zeros(2).double(), torch.tensor([0.0, 1.0]).double()
    verdict = check(Instance(Vanishing, torch.ones(1, 1).double(), theta, direction))
    assert verdict.outcome is Outcome.FAILS and "KL(p_θ ‖ p_{θ+ε}) = 0" in verdict.counterexample


def test_densities_too_far_apart_for_the_quadrature_decide_nothing():
    theta, direction = torch.tensor([[1e-4, 0, 0], [1, 0, 1]]).double()
    verdict = check(Instance(Gaussian, torch.ones(1, 1).double(), theta, direction, hidden=1))
    assert verdict.outcome is Outcome.UNDECIDED and "40 nodes resolve" in verdict.missing
