"""A prior that knows the training set: over all training sets, against enumeration one by one and sampling."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.theory.decided import verdicts
from tests.theory.smallest import assert_hypothesis_finds
from theory.pac_bayes.priors import CLAIMS, Instance, check, gaps, instance, losing, partitions_with_chances
from theory.pac_bayes.tail import radius
from theory.verdict import Outcome

simple = st.builds(Instance, st.integers(1, 64), st.integers(2, 12), st.sampled_from([1 / 2, 1 / 4, 1 / 8]))


def test_the_smallest_counterexample_is_the_one_that_is_stored():
    assert_hypothesis_finds(CLAIMS["F6.PRIOR"], simple, examples=3000)


@settings(deadline=None)
@given(st.integers(1, 10**6), st.integers(2, 14), st.floats(1e-6, 0.999))
def test_nothing_refutes_the_population_fisher(inputs, samples, delta):
    assert check(Instance(inputs, samples, delta), altered=True).outcome is Outcome.HOLDS


def test_the_fisher_of_algorithm_1_remembers_the_sample():
    for seed, verdict in enumerate(verdicts("F6.PRIOR")):
        assert verdict.worst_error * instance(seed).delta > 0.999  # the probability that the bound is violated


@pytest.mark.parametrize("samples, inputs", [(2, 3), (4, 3), (5, 6)])
def test_the_chances_are_those_of_all_tuples(samples, inputs):
    found: dict[tuple[int, ...], Fraction] = {}
    for drawn in product(range(inputs), repeat=samples):
        parts = tuple(sorted((drawn.count(x) for x in set(drawn)), reverse=True))
        found[parts] = found.get(parts, Fraction()) + Fraction(1, inputs**samples)
    assert dict(partitions_with_chances(samples, inputs)) == found


@given(st.integers(2, 14), st.integers(1, 10**6))
def test_the_chances_add_up(samples, inputs):
    assert sum(share for _, share in partitions_with_chances(samples, inputs)) == 1


@pytest.mark.parametrize("from_sample", [True, False])
def test_the_gap_of_one_training_set_by_sampling(from_sample):
    """All inputs drawn once: population losses by the Gaussian itself, the worst case by trying every subset."""
    drawn = Instance(40, 3, 0.5)
    n, m, rho = 3, 40, drawn.rho
    (gap,) = [
        g for (parts, _), (_, g) in zip(partitions_with_chances(n, m), gaps(drawn, from_sample), strict=True) if len(parts) == 3
    ]
    seen = np.array([1 / 3] * 3 + [0.0] * 37)
    fisher = seen**2 + rho**4 if from_sample else np.full(m, 1 / m)
    theta = np.random.default_rng(0).normal(size=(4000, m)) * rho / np.sqrt(fisher)
    population = (abs(1 - theta) > 2).mean()
    subsets = [np.array(s) for s in product((0, 1), repeat=3)]
    worst = max(s.mean() for s in subsets if s @ fisher[:3] < (rho * radius(m, n)) ** 2 or not s.any())
    assert gap == pytest.approx(population - worst, abs=6 / math.sqrt(4000 * m))


@given(st.floats(1e-3, 1e6))
def test_the_loss_is_the_normals_two_tails(variance):
    tails = [math.erfc(distance / math.sqrt(2 * variance)) / 2 for distance in (1, 3)]
    assert float(losing(variance)) == pytest.approx(sum(tails), rel=1e-12)


def test_the_fisher_is_the_squared_batch_gradient_of_eq_12():
    """By autograd, at θ = 0 with targets 1; with targets 0 every gradient, and with it F̂, is zero."""
    inputs, theta = torch.tensor([0, 3, 3, 5]), torch.zeros(7, dtype=torch.float64, requires_grad=True)
    for target, expected in ((1.0, (torch.bincount(inputs, minlength=7) / 4) ** 2), (0.0, torch.zeros(7))):
        log_density = torch.distributions.Normal(theta[inputs], 1).log_prob(torch.full((4,), target)).mean()
        (gradient,) = torch.autograd.grad(log_density, theta)
        assert torch.equal(gradient**2, expected.double())


@pytest.mark.parametrize(
    "change, cause",
    [
        ({"inputs": 0}, "inputs = 0"),
        ({"samples": 1}, "samples = 1 .* at least 2"),
        ({"samples": 31}, "too many partitions .* at most 30"),
        ({"delta": 0.0}, "delta = 0.0 lies outside"),
    ],
)
def test_bad_input_is_an_error(change, cause):
    with pytest.raises(ValueError, match=cause):
        Instance(**{"inputs": 5, "samples": 3, "delta": 0.5, **change})
