"""McAllester's bound over every sample: against direct enumeration, with a search over Q, and with losses of any width."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from tests.theory.smallest import assert_hypothesis_finds
from theory.pac_bayes.mcallester import CLAIMS, Instance, check, every_sample, exponent, log_moment, violations
from theory.verdict import Outcome


@st.composite
def simple(draw):
    """One hypothesis; numbers that are read at a glance."""
    samples = draw(st.integers(2, 9))
    rate, delta = draw(st.sampled_from([1 / 2, 1 / 4, 1 / 8])), draw(st.sampled_from([1 / 2, 1 / 4, 1 / 8, 1 / 16]))
    return Instance(samples, rate, (float(draw(st.integers(1, 20))),), (1.0,), delta)


@st.composite
def anything(draw):
    h = draw(st.integers(1, 4))
    number = st.floats(1e-3, 1e3)
    surprise, weights = (tuple(draw(number) for _ in range(h)) for _ in range(2))
    return Instance(draw(st.integers(2, 40)), draw(st.floats(1e-6, 1 - 1e-6)), surprise, weights, draw(st.floats(1e-6, 0.999)))


def test_the_smallest_counterexample_is_the_one_that_is_stored():
    assert_hypothesis_finds(CLAIMS["F6.25"], simple(), examples=3000)


@settings(deadline=None)
@given(anything())
def test_nothing_refutes_the_correction(drawn):
    assert check(drawn).outcome in (Outcome.CORRECTED, Outcome.UNDECIDED)
    assert log_moment(drawn, drawn.width) <= math.log(drawn.samples)


def test_every_sequence_of_flips_gives_the_same_probability():
    drawn = Instance(6, 0.2, (3.0, 0.5), (1.0, 2.0), 0.05)
    prior, allowed, total = np.array([1, 2]) / 3, math.log(6 / 0.05), 0.0
    for flips in product((0, 1), repeat=6):
        own = drawn.losses[:, 0] + np.mean(flips) * (drawn.losses[:, 1] - drawn.losses[:, 0])
        gap = drawn.losses @ [0.8, 0.2] - own
        chance = math.prod(0.2 if flip else 0.8 for flip in flips)
        total += chance * (exponent(gap[None], prior, 6, 0.3)[0][0] > allowed)
    assert total == pytest.approx(violations(drawn, 0.3)[0], abs=1e-14)
    assert total > 0.05


@pytest.mark.parametrize("seed", range(4))
def test_the_exponent_is_the_worst_posteriors(seed):
    rng = np.random.default_rng(seed)
    gaps, prior, n, width = rng.normal(size=3), rng.dirichlet(np.ones(3)), 5, 1.5
    a = 2 * (n - 1) / width**2

    def value(logits):
        q = np.exp(logits - np.logaddexp.reduce(logits))
        return -(a * max(q @ gaps, 0) ** 2 - q @ np.log(q / prior))

    starts = [np.log(prior) + 3 * shift for shift in (*np.eye(3), np.zeros(3))]
    found = -min(minimize(value, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).fun for start in starts)
    low, high = (float(bound[0]) for bound in exponent(gaps[None], prior, n, width))
    assert low - 1e-9 <= high and found <= high + 1e-9 and found >= low - 1e-6


def test_the_chances_are_those_of_all_samples():
    chances, gaps, prior = every_sample(Instance(9, 0.3, (2.0, 1.0), (1.0, 3.0), 0.1))
    assert chances.sum() == pytest.approx(1) and (chances @ gaps) == pytest.approx([0, 0], abs=1e-15)
    assert prior.tolist() == [0.25, 0.75]


@pytest.mark.parametrize("surprise", [1e300, 1e200])
def test_a_loss_whose_square_overflows_decides_nothing(surprise):
    assert check(Instance(5, 0.5, (surprise,), (1.0,), 0.1)).outcome is Outcome.UNDECIDED


def test_a_loss_without_width_decides_nothing():
    assert check(Instance(3, 0.5, (math.log(2),), (1.0,), 0.1)).outcome in (Outcome.UNDECIDED, Outcome.CORRECTED)


@pytest.mark.parametrize(
    "change, cause",
    [
        ({"samples": 1}, "samples = 1 .* at least 2"),
        ({"delta": 0.0}, "delta = 0.0 lies outside"),
        ({"delta": 1.0}, "delta = 1.0 lies outside"),
        ({"rate": -0.5}, "rate = -0.5 lies outside"),
        ({"surprise": ()}, "Every hypothesis needs"),
        ({"surprise": (-1.0,)}, "one positive surprise"),
        ({"weights": (1.0, 1.0)}, "Every hypothesis needs"),
        ({"weights": (float("nan"),)}, "not a vector of finite numbers"),
    ],
)
def test_bad_input_is_an_error(change, cause):
    with pytest.raises(ValueError, match=cause):
        Instance(**{"samples": 3, "rate": 0.5, "surprise": (1.0,), "weights": (1.0,), "delta": 0.1, **change})
