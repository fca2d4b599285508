"""The theorem on a coin: every training set one by one, sampling in place of closed forms, and losses of any scale."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.theory.smallest import assert_hypothesis_finds
from theory.pac_bayes.theorem import CLAIMS, Instance, check, instance, sides, violated
from theory.verdict import Outcome


@st.composite
def simple(draw):
    """One or two whole θ, γ = ½, F = 1."""
    thetas = tuple(float(t) for t in draw(st.lists(st.integers(-3, 3), min_size=1, max_size=2)))
    rate, delta = draw(st.sampled_from([1 / 2, 1 / 4])), draw(st.sampled_from([1 / 2, 1 / 4, 1 / 8, 1 / 16]))
    scale, constant = float(draw(st.integers(1, 30))), float(draw(st.integers(1, 3)))
    return Instance(thetas, draw(st.integers(2, 6)), rate, scale, 0.5, 1.0, delta, constant)


@st.composite
def anything(draw):
    power = st.floats(-6, 6).map(lambda e: 10.0**e)
    thetas = tuple(draw(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=4)))
    rate, delta = draw(st.floats(1e-6, 1 - 1e-6)), draw(st.floats(1e-6, 0.999))
    return Instance(thetas, draw(st.integers(2, 50)), rate, draw(power), draw(power), draw(power), delta, draw(power))


def test_the_smallest_counterexample_is_the_one_that_is_stored():
    assert_hypothesis_finds(CLAIMS["F6"], simple(), examples=3000)


@settings(deadline=None)
@given(anything())
def test_no_coin_and_no_loss_refute_the_correction(drawn):
    assert check(drawn).outcome in (Outcome.CORRECTED, Outcome.UNDECIDED)


def test_every_sequence_gives_the_same_probability():
    drawn = Instance((-1.0, 0.2, 2.0), 7, 0.15, 5.0, 0.4, 2.0, 0.1, 1.0)
    _, population, _, worst = sides(drawn)
    total = 0.0
    for signs in product((0, 1), repeat=7):
        chance = math.prod(0.15 if sign else 0.85 for sign in signs)
        total += chance * bool((5 * (population - worst)[sum(signs)] > 0.3).any())
    assert total == pytest.approx(violated(drawn, 0.3), abs=1e-14) and total > 0


def test_the_closed_forms_are_those_of_samples_and_of_a_search():
    drawn = Instance((-1.0, 0.1, 0.6), 5, 0.3, 1.0, 0.5, 1.5, 0.1, 1.0)
    _, population, sample, worst = sides(drawn)
    noise = np.random.default_rng(0).normal(size=200_000) * drawn.rho / math.sqrt(1.5)
    ball = np.linspace(-1, 1, 4001) * 0.5 / math.sqrt(1.5)
    for j, theta in enumerate(drawn.thetas):
        up = (theta + noise > 0).mean()
        assert population[0, j] == pytest.approx(0.3 * (1 - up) + 0.7 * up, abs=0.01)
        for ones in range(6):
            assert sample[ones, j] == pytest.approx(ones / 5 * (1 - up) + (1 - ones / 5) * up, abs=0.01)
            inside = np.where(theta + ball > 0, 1 - ones / 5, ones / 5)
            assert worst[ones, j] == pytest.approx(inside.max())


@given(st.floats(-6, 6).map(lambda e: 10.0**e), st.integers(0, 99))
def test_the_corrected_bound_does_not_care_in_which_unit_the_loss_is(scale, seed):
    drawn = instance(seed)
    probabilities = {violated(replace(drawn, scale=s), s * 0.37) for s in (1.0, scale)}
    assert len(probabilities) == 1


@pytest.mark.parametrize(
    "change, cause",
    [
        ({"thetas": ()}, "Θ is empty"),
        ({"samples": 1}, "samples = 1"),
        ({"delta": 1.0}, "delta = 1.0 lies outside"),
        ({"rate": 0.0}, "rate = 0.0 lies outside"),
        ({"fisher": 0.0}, "fisher = 0.0 is not positive"),
        ({"scale": float("inf")}, "scale = inf"),
        ({"gamma": -1.0}, "gamma = -1.0"),
        ({"thetas": (float("nan"),)}, "not a vector of finite numbers"),
    ],
)
def test_bad_input_is_an_error(change, cause):
    with pytest.raises(ValueError, match=cause):
        replace(CLAIMS["F6"].smallest, **change)
