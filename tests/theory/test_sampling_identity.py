"""F4, F5. Theorem 3.1: which α belongs to which way of drawing; and its remark: what no batch size removes."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.theory.smallest import assert_hypothesis_finds
from theory.sampling_identity import CLAIMS, Instance, alpha, batches, check, check_remark, instance, second_moment
from theory.verdict import Outcome


@st.composite
def instances(draw):
    n = draw(st.integers(2, 4))
    vectors = draw(arrays(np.int64, (n, draw(st.integers(1, 3))), elements=st.integers(-20, 20), fill=st.nothing()))
    return Instance(vectors, draw(st.integers(1, n - 1)))


def has_spread(drawn):
    return bool((drawn.vectors != drawn.vectors[0]).any())


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_theorem_3_1_holds_with_an_alpha_for_each_way_of_drawing_and_not_as_printed(seed):
    drawn = instance(seed)
    verdict = check(drawn)
    assert verdict.outcome is Outcome.CORRECTED and verdict.worst_error < 1e-12
    assert "with replacement" in verdict.counterexample
    assert check(drawn, altered=True).outcome is Outcome.FAILS


@settings(deadline=None)
@given(instances())
def test_only_spread_and_batches_of_two_tell_the_two_alphas_apart(drawn):
    apart = has_spread(drawn) and drawn.batch > 1
    assert check(drawn).outcome is (Outcome.CORRECTED if apart else Outcome.UNDECIDED)
    assert check(drawn, altered=True).outcome is (Outcome.FAILS if apart else Outcome.UNDECIDED)


@settings(deadline=None)
@given(instances())
def test_a_batch_mean_that_is_always_right_leaves_the_covariance(drawn):
    spread = has_spread(drawn)
    assert check_remark(drawn).outcome is (Outcome.FAILS if spread else Outcome.UNDECIDED)
    assert check_remark(drawn, altered=True).outcome is (Outcome.HOLDS if spread else Outcome.UNDECIDED)


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_the_stored_counterexample_is_the_smallest_that_hypothesis_finds(claim):
    assert_hypothesis_finds(claim, instances(), examples=500)


@pytest.mark.parametrize(
    "vectors",
    [[[0.0], [1e-170]], [[0.0], [1e200]], [[1.0], [1 + 2.0**-52]], [[1e300, 0.0], [1e300, 1e-300]], [[0.0], [5e-324]]],
)
def test_the_remark_fails_at_every_scale(vectors):
    drawn = Instance(np.array(vectors), 1)
    assert check_remark(drawn).outcome is Outcome.FAILS and "N = 2, M = 2" in check_remark(drawn).counterexample
    assert check_remark(drawn, altered=True).outcome is Outcome.HOLDS


@settings(deadline=None)
@given(instances())
def test_the_remark_survives_batches_whose_alpha_is_at_most_two(drawn):
    if has_spread(drawn):
        first = drawn.batch if alpha(len(drawn.vectors), drawn.batch, False) > 2 else len(drawn.vectors)
        assert f"M = {first}:" in check_remark(drawn).counterexample


@pytest.mark.parametrize("size", [1e-170, 1e170, 1e200])
@pytest.mark.parametrize("altered", [True, False])
def test_vectors_whose_squares_float64_cannot_hold_decide_nothing(size, altered):
    verdict = check(Instance(np.array([[0.0], [0.0], [size]]), 2), altered)
    assert verdict.outcome is Outcome.UNDECIDED and "normal numbers in float64" in verdict.missing


@settings(deadline=None)
@given(instances(), st.booleans())
def test_noise_alone_leaves_one_part_in_alpha(drawn, replacement):
    noise = drawn.exact - drawn.exact.sum(0) / len(drawn.vectors)
    square = noise.T @ noise / len(noise)
    share = second_moment(noise, drawn.batch, replacement) * alpha(len(noise), drawn.batch, replacement)
    assert (share == square).all()


@given(st.integers(2, 50), st.data())
def test_alpha_is_one_for_single_draws_and_grows_past_any_bound(population, data):
    batch = data.draw(st.integers(1, population - 1))
    assert alpha(population, 1, True) == alpha(population, 1, False) == 1
    assert alpha(population, batch, True) == batch <= alpha(population, batch, False)
    assert alpha(population, population - 1, False) == (population - 1) ** 2
    assert alpha(10**9, batch, False) - batch < Fraction(batch**2, 10**8)


@given(st.integers(1, 4), st.integers(1, 4))
def test_every_batch_is_drawn_once(population, batch):
    for replacement, count in ((True, population**batch), (False, comb(population, batch))):
        drawn = list(batches(population, batch, replacement))
        assert len(drawn) == len(set(drawn)) == count


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize(
    "population, batch, cause",
    [(0, 1, "population = 0"), (-3, 1, "population = -3"), (3, 0, "batch = 0"), (3, -1, "batch = -1")],
)
def test_nothing_to_average_is_an_error(population, batch, cause, replacement):
    with pytest.raises(ValueError, match=f"{cause} leaves nothing to average; pass a positive number"):
        alpha(population, batch, replacement)


@given(st.integers(1, 20), st.integers(1, 20))
def test_more_than_there_are_needs_replacement(population, excess):
    assert alpha(population, population + excess, True) == population + excess
    with pytest.raises(
        ValueError, match=r"cannot be drawn without replacement .* pass batch < population, or replacement=True"
    ):
        alpha(population, population + excess, False)


@given(st.integers(1, 20))
def test_the_whole_population_has_no_alpha(population):
    assert alpha(population, population, True) == population
    with pytest.raises(ValueError, match=r"diverges; pass batch < population, or replacement=True"):
        alpha(population, population, False)
    with pytest.raises(ValueError, match="diverges"):
        Instance(np.ones((population, 1)), population)
