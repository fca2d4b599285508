"""The pair of each variant, against argmax by an optimiser."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from theory.preconditioning import Instance, check, formulas, instance

SEEDS = st.integers(0, 2**32 - 1)


def test_every_variant_is_compared_on_an_ordinary_instance():
    assert len(formulas(instance(0))) == 10 and check(instance(0)).cases == 14


@settings(deadline=None, max_examples=10)
@given(SEEDS)
def test_an_optimiser_finds_the_same_maximum(seed):
    drawn = instance(seed)
    for D, C, own in formulas(drawn).values():
        covector, shape = D @ drawn.rows.ravel(), C.T @ C
        # Whitened by hand, so that the optimiser sees the unit ball.
        white = np.linalg.inv(np.linalg.cholesky(shape).T)
        target = white.T @ covector / np.linalg.norm(white.T @ covector)
        ball = {"type": "ineq", "fun": lambda u: 1 - u @ u, "jac": lambda u: -2 * u}
        start = np.full(len(own), 0.5 / len(own))
        found = minimize(lambda u, t=target: -t @ u, start, jac=lambda u, t=target: -t, constraints=ball, tol=1e-14)
        assert np.allclose(white @ found.x, own, atol=1e-5 * abs(white).sum())
        assert math.isclose(own @ shape @ own, 1, rel_tol=1e-9)


@pytest.mark.parametrize(
    "change, cause",
    [
        ({"rows": np.zeros((2, 2))}, "pass a last row that is not zero"),
        ({"rows": np.array([[np.nan, 1.0]])}, "not finite"),
        ({"rows": np.array([[1e-40, 1.0]])}, "from 1e-30 to 1e30; rescale"),
        ({"rows": np.ones((1, 3))}, r"pass \(m, n\) and \(n,\)"),
        ({"weights": np.array([0.0, 1.0])}, "pass weights that are not zero"),
        ({"split": 0}, "pass 1 to 1"),
        ({"split": 2}, "split = 2 leaves a layer without parameters"),
        ({"damping": 0.0}, "damping must be positive"),
        ({"damping": math.nan}, "damping must be positive"),
        ({"logit": 0.0}, "logit of a size from 0.01 to 4"),
    ],
)
def test_bad_input_names_cause_and_cure(change, cause):
    with pytest.raises(ValueError, match=cause):
        Instance(**({"rows": np.ones((1, 2)), "weights": np.ones(2)} | change))
