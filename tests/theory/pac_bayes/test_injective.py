"""One-to-one, and yet a singular Fisher: against torch's derivatives and KL."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.theory.smallest import assert_hypothesis_finds
from theory.pac_bayes.injective import CLAIMS, Instance, check, fisher, instance, mean
from theory.verdict import Outcome


@st.composite
def simple(draw):
    k = draw(st.integers(1, 3))
    whole = st.integers(-3, 3).map(float)
    point, center = (tuple(draw(whole) for _ in range(k)) for _ in range(2))
    return Instance(point, center, tuple(map(tuple, np.eye(k).tolist())), draw(st.sampled_from([1, 3, 5])))


def test_the_smallest_counterexample_is_the_one_that_is_stored():
    assert_hypothesis_finds(CLAIMS["F6a.INJECTIVE"], simple(), examples=1000)


@given(simple())
def test_it_is_singular_exactly_where_a_parameter_meets_its_centre(drawn):
    meets = drawn.power > 1 and any(a == c for a, c in zip(drawn.point, drawn.center, strict=True))
    assert check(drawn).outcome is (Outcome.FAILS if meets else Outcome.HOLDS)
    assert (np.linalg.matrix_rank(fisher(drawn, np.array(drawn.point))) < len(drawn.point)) is np.bool_(meets)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_different_parameters_are_different_means(seed, other):
    drawn, rng = instance(seed), np.random.default_rng(other)
    a = np.array(drawn.center) + rng.normal(size=len(drawn.point))
    b = a + rng.choice([-1, 0, 1], len(a)) * rng.uniform(0.1, 1, len(a))
    same = np.linalg.norm(mean(drawn, a) - mean(drawn, b)) < 1e-12
    assert same == bool((a == b).all())


@pytest.mark.parametrize("seed", range(4))
def test_mean_and_fisher_are_those_of_torch(seed):
    drawn = instance(seed)
    point = torch.tensor(drawn.center, dtype=torch.float64) + 0.3
    M, c = torch.tensor(drawn.mixing, dtype=torch.float64), torch.tensor(drawn.center, dtype=torch.float64)

    def expected(theta):
        return M @ (theta - c) ** drawn.power

    J = torch.func.jacrev(expected)(point)
    assert np.allclose(mean(drawn, point.numpy()), expected(point).numpy(), rtol=1e-12)
    assert np.allclose(fisher(drawn, point.numpy()), (J.T @ J).numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    "change, cause",
    [
        ({"power": 2}, "power = 2 is even"),
        ({"power": 0}, "power = 0"),
        ({"point": (0.0, 1.0)}, "different dimensions"),
        ({"mixing": ((0.0,),)}, "mixing is singular"),
        ({"center": (float("inf"),)}, "not a vector of finite numbers"),
    ],
)
def test_bad_input_is_an_error(change, cause):
    with pytest.raises(ValueError, match=cause):
        Instance(**{"point": (0.0,), "center": (0.0,), "mixing": ((1.0,),), "power": 3, **change})
