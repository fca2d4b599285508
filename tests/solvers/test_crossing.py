"""The first crossing of a level, for functions of every kind."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from geosam.solvers import Crossing, Radial, first_crossing

MOST, TOLERANCE = Radial().evaluations, Radial().tolerance


@dataclass
class Recorded:
    """A function that remembers where it was asked."""

    f: Callable[[float], float]
    asked: dict[float, float] = field(default_factory=dict)

    def __call__(self, t: float) -> float:
        assert t > 0 and math.isfinite(t)
        self.asked[t] = self.f(t)
        return self.asked[t]


def cross(f: Callable[[float], float], level: float, start: float = 1.0, limit: float = math.inf) -> Crossing:
    """The first crossing, with what must hold for every f whatever."""
    recorded = Recorded(f)
    found = first_crossing(recorded, level, start, TOLERANCE, MOST, limit=limit)
    assert max(recorded.asked) <= limit
    assert len(recorded.asked) <= found.evaluations <= MOST
    assert 0 <= found.value <= level * (1 + TOLERANCE)
    assert (found.t, found.value) == (0, 0) or recorded.asked[found.t] == found.value
    assert found.met == (abs(found.value - level) <= TOLERANCE * level)
    return found


positive = st.floats(1e-3, 1e3)


@given(st.floats(0.6, 4), positive, st.floats(-1.5, 1.5))
def test_a_power_law_takes_three_evaluations(power, level, decades):
    crossing = 10**decades
    found = cross(lambda t: level * (t / crossing) ** power, level)
    assert found.met and found.t == pytest.approx(crossing, rel=0.03)
    near = 1 / 8 < crossing < 8 and 1 / 8 < crossing**power < 8
    assert found.evaluations <= (3 if near else 5)


@given(positive, st.floats(1e-2, 1e2))
def test_a_line_takes_two(level, crossing):
    found = cross(lambda t: level * t / crossing, level)
    if 1 / 8 <= crossing <= 8:
        assert found.met and found.evaluations <= 2


@given(st.floats(0.05, 0.98), st.floats(0.3, 3))
def test_a_function_that_saturates_short_of_the_level_gives_its_shortfall(height, speed):
    found = cross(lambda t: height * math.tanh(speed * t), 1.0)
    assert not found.met and found.value == pytest.approx(height, rel=0.02)


@given(st.floats(1.05, 3), st.floats(0.3, 3), st.floats(0.2, 8))
@example(2.0, 1.0, 7.75)
def test_a_start_where_the_function_is_flat_above_the_level_does_not_lose_the_crossing(height, speed, reach):
    assert cross(lambda t: height * math.tanh(speed * t), 1.0, reach / speed).value > 0.4


@given(st.floats(0.05, 0.9) | st.floats(1.05, 3), st.sampled_from([math.inf, math.nan]))
def test_a_jump_out_of_the_finite_counts_as_above(edge, bad):
    found = cross(lambda t: t if t < edge else bad, 1.0)
    assert found.met == (edge > 1)
    assert found.t < edge
    if edge < 1:
        assert found.value > 0.4 * edge


@given(st.sampled_from([math.inf, math.nan, 1e300]))
def test_nothing_finite_anywhere_gives_nothing(bad):
    assert cross(lambda t: bad, 1.0) == Crossing(0.0, 0.0, MOST, False)


def test_a_dead_zone_makes_the_search_go_on_growing():
    assert cross(lambda t: max(t - 3.0, 0.0), 1.0).value > 0.4


def test_the_first_of_several_crossings():
    found = cross(lambda t: t if t < 4 else 0.5, 1.0, start=0.5)
    assert found.met and found.t == pytest.approx(1, rel=0.01)


@given(st.lists(st.floats(1e-18, 1e18) | st.sampled_from([0.0, math.nan, math.inf]), min_size=MOST), positive, positive)
def test_no_function_makes_it_overspend_or_fail(values, level, start):
    answers = iter(values)
    cross(lambda t: next(answers), level, start)


@given(st.floats(0.5, 3), positive, positive, positive)
def test_a_limit_is_kept_and_reached_where_the_crossing_is_beyond(power, level, start, share):
    crossing = level ** (1 / power)
    found = cross(lambda t: t**power, level, start, limit=share * crossing)
    if share < (1 - TOLERANCE) ** (1 / power) * 0.999:
        assert not found.met and found.t == share * crossing
    elif share > 1.001 and found.evaluations < MOST:
        assert found.met
