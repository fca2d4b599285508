"""The max-norm of a product, exactly on integer matrices, and what its factor k does to A.3."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.theory.smallest import assert_hypothesis_finds
from theory.pac_bayes.assumption_a3 import CLAIMS, Instance, check, largest
from theory.pac_bayes.inputs import random_definite, rows
from theory.verdict import Outcome


@st.composite
def integer_pairs(draw):
    """F̄ and D of size 1 to 3, small integers, both symmetric, F̄ and F̄⁻¹ + D positive definite."""
    k = draw(st.integers(1, 3))
    pairs = [(i, j) for i in range(k) for j in range(i + 1)]
    matrices = []
    for _ in range(2):
        matrix = np.zeros((k, k))
        for i, j in pairs:
            matrix[i, j] = matrix[j, i] = draw(st.integers(0, 4))
        matrices.append(matrix)
    center, change = matrices
    assume(np.linalg.eigvalsh(center)[0] > 1e-6)
    assume(np.linalg.eigvalsh(np.linalg.inv(center) + change)[0] > 1e-6)
    return Instance(rows(center), rows(change))


@st.composite
def anything(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    k, scale = draw(st.integers(1, 6)), 10.0 ** draw(st.integers(-8, 8))
    center = random_definite(rng, k, draw(st.sampled_from([0.0, 1.0, 3.0]))) * scale
    change = random_definite(rng, k, 1.0) * draw(st.sampled_from([0.0, 1e-6, 1.0, 1e6])) / scale
    return Instance(rows(center), rows(change))


def test_the_smallest_counterexample_is_the_one_that_is_stored():
    assert_hypothesis_finds(CLAIMS["F6.22"], integer_pairs(), examples=5000)


def test_the_stored_counterexample_is_one_in_integers():
    center, change = (
        [[Fraction(x) for x in row] for row in m] for m in (CLAIMS["F6.22"].smallest.center, CLAIMS["F6.22"].smallest.change)
    )
    product = [[sum(a * b for a, b in zip(row, column, strict=True)) for column in zip(*change, strict=True)] for row in center]
    top = [max(abs(x) for row in m for x in row) for m in (product, center, change)]
    assert top[0] > top[1] * top[2] and top[0] <= 2 * top[1] * top[2]


@settings(deadline=None)
@given(st.one_of(integer_pairs(), anything()))
def test_nothing_refutes_the_factor_k(drawn):
    assert check(drawn).outcome in (Outcome.CORRECTED, Outcome.UNDECIDED)


@given(st.integers(2, 30))
def test_the_factor_is_nearly_attained(k):
    center, change = np.ones((k, k)) + 1e-3 * np.eye(k), 0.1 * np.ones((k, k))
    assert largest(center @ change) / (largest(center) * largest(change)) > 0.99 * k
    verdict = check(Instance(rows(center), rows(change)))
    assert verdict.outcome is Outcome.CORRECTED and 0.99 < verdict.worst_error <= 1 + 1e-9


@pytest.mark.parametrize(
    "center, change, cause",
    [
        (((1.0, 1.0), (1.0, 1.0)), ((0.0, 0.0), (0.0, 0.0)), "center is singular.* Damp it"),
        (((1.0,),), ((-1.0,),), "the inverse of F.θ., is singular"),
        (((1.0,),), ((float("nan"),),), "not a symmetric matrix of finite numbers"),
        (((1.0,),), ((1.0, 0.0), (0.0, 1.0)), "different dimensions"),
    ],
)
def test_bad_input_is_an_error(center, change, cause):
    with pytest.raises(ValueError, match=cause):
        Instance(center, change)
