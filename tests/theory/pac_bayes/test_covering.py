"""Covers of a cube by Fisher ellipsoids: built, counted, and checked at random points."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.theory.decided import verdicts
from tests.theory.smallest import assert_hypothesis_finds
from theory.pac_bayes.covering import CLAIMS, Instance, check, check_diameter, grid, instance, log_cover, log_volume_ratio
from theory.pac_bayes.inputs import random_definite, rows
from theory.verdict import Outcome


@st.composite
def cubes(draw):
    """Cubes with integer corners, and a Fisher that is a multiple of the identity."""
    k = draw(st.integers(1, 3))
    corner = tuple(float(draw(st.integers(0, 9))) for _ in range(k))
    side, radius = (float(draw(st.integers(1, 5))) for _ in range(2))
    return Instance(corner, side, radius, rows(np.eye(k) * draw(st.integers(1, 50))))


@st.composite
def anything(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    k = draw(st.integers(1, 5))
    fisher = random_definite(rng, k, draw(st.sampled_from([0.0, 1.0, 3.0]))) * 10.0 ** draw(st.integers(-8, 8))
    side, radius = (10.0 ** draw(st.integers(-3, 3)) for _ in range(2))
    corner = rng.normal(size=k) * draw(st.sampled_from([0.0, 1.0, 1e3]))
    return Instance(tuple(corner.tolist()), side, radius, rows(fisher))


def test_the_smallest_counterexample_is_the_one_that_is_stored():
    assert_hypothesis_finds(CLAIMS["F6.16.B"], cubes(), examples=2000)


@settings(deadline=None)
@given(anything())
def test_no_cube_refutes_the_count_or_the_correction(drawn):
    assert check(drawn).outcome is Outcome.HOLDS
    assert check_diameter(drawn).outcome in (Outcome.CORRECTED, Outcome.UNDECIDED)
    assert check_diameter(drawn, altered=True).outcome is Outcome.FAILS


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_random_points_lie_in_an_ellipsoid_of_the_cover(seed):
    drawn = instance(seed)
    F, low = np.array(drawn.fisher), np.array(drawn.corner)
    cells, _ = grid(drawn, float(np.linalg.eigvalsh(F)[-1]))
    points = low + drawn.side * np.random.default_rng(seed).random((50, drawn.dimension))
    width = drawn.side / cells
    centres = low + width * (np.floor((points - low) / width) + 0.5)
    assert (np.einsum("pi,ij,pj->p", points - centres, F, points - centres) <= drawn.radius**2 * (1 + 1e-9)).all()
    assert drawn.dimension * math.log(cells) <= log_cover(
        drawn.dimension, drawn.diameter, np.linalg.eigvalsh(F)[-1], drawn.radius
    )


def test_the_volume_ratio_is_that_of_random_points():
    drawn = Instance((-1.0, -1.0), 2.0, 0.7, ((2.0, 0.5), (0.5, 1.0)))
    points = np.random.default_rng(0).uniform(-1, 1, (400_000, 2))
    inside = (np.einsum("pi,ij,pj->p", points, np.array(drawn.fisher), points) <= 0.49).mean()
    assert math.exp(-log_volume_ratio(drawn)) == pytest.approx(inside, abs=6 * math.sqrt(inside / 400_000))


def test_one_dimension_is_counted_exactly():
    drawn = Instance((0.0,), 1.0, 0.1, ((9.0,),))
    cells, far = grid(drawn, 9.0)
    assert cells == 15 == math.ceil(math.exp(log_volume_ratio(drawn)) - 1e-9) and far == pytest.approx(0.1)


def test_the_counterexamples_to_a_quarter_of_the_constant_are_points_in_rows():
    assert all("points are r/√Λ apart" in verdict.counterexample for verdict in verdicts("F6.16", altered=True))


def test_for_fixed_geometry_the_count_is_a_multiple_of_the_printed_one():
    """J (r/B)ᵏ ≤ cᵏ with c = 2√Λ + r/B, which falls to 2√Λ with r."""
    for radius in (1.0, 1e-3, 1e-9):
        assert log_cover(3, 2.0, 5.0, radius) == pytest.approx(3 * math.log((2 * math.sqrt(5) + radius / 2) * 2 / radius))


@pytest.mark.parametrize("radius, fisher", [(1e-200, 1e300), (1e-200, 1.0), (1e200, 1e-300)])
def test_an_r_that_float64_does_not_resolve_decides_nothing(radius, fisher):
    assert check(Instance((0.0,), 1.0, radius, ((fisher,),))).outcome is Outcome.UNDECIDED


@pytest.mark.parametrize(
    "change, cause",
    [
        ({"side": 0.0}, "side = 0.0 is not positive"),
        ({"radius": -1.0}, "radius = -1.0 is not positive"),
        ({"side": float("inf")}, "side = inf is not positive"),
        ({"fisher": ((0.0,),)}, "fisher is singular.* Damp it"),
        ({"corner": (0.0, 1.0)}, "different dimensions"),
        ({"corner": (float("nan"),)}, "not a vector of finite numbers"),
    ],
)
def test_bad_input_is_an_error(change, cause):
    with pytest.raises(ValueError, match=cause):
        Instance(**{"corner": (0.0,), "side": 1.0, "radius": 1.0, "fisher": ((1.0,),), **change})
    with pytest.raises(ValueError, match="dimension = 0"):
        log_cover(0, 1.0, 1.0, 1.0)
