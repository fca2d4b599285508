"""Null directions of a ReLU network's Fisher, against torch's own scores and a rank in exact arithmetic."""

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.theory.smallest import assert_hypothesis_finds
from theory.pac_bayes.redundant import CLAIMS, Instance, check, check_rank, instance, null_directions, rank, root, slope
from theory.verdict import Outcome


def matrices(rows, columns, elements):
    return st.lists(st.tuples(*[elements] * columns), min_size=rows, max_size=rows).map(tuple)


@st.composite
def networks(draw, elements):
    n, d, h, C = (draw(st.integers(low, 3)) for low in (1, 1, 1, 2))
    return Instance(*(draw(matrices(*shape, elements)) for shape in ((n, d), (h, d), (C, h))))


natural = st.integers(1, 3).map(float)
wild = st.one_of(st.integers(-2, 2).map(float), st.floats(-30, 30))


def test_the_smallest_counterexample_is_the_one_that_is_stored():
    assert_hypothesis_finds(CLAIMS["F6a"], networks(natural), examples=500)


@settings(deadline=None)
@given(networks(wild))
def test_no_network_has_a_regular_fisher_or_more_rank_than_stated(drawn):
    assert check(drawn).outcome is Outcome.FAILS
    assert check_rank(drawn).outcome is Outcome.HOLDS
    assert check_rank(drawn, altered=True).outcome is Outcome.FAILS


@pytest.mark.parametrize("seed", range(4))
def test_the_fisher_is_that_of_torchs_scores(seed):
    x, W, A = (torch.from_numpy(array).requires_grad_() for array in instance(seed).arrays)
    F = torch.zeros(())
    for row in x.detach():
        logits = (A @ torch.relu(W @ row)).log_softmax(0)
        for log_p in logits:
            parts = torch.autograd.grad(log_p, (W, A), retain_graph=True)
            score = torch.cat([part.flatten() for part in parts])
            F = F + log_p.exp().detach() * torch.outer(score, score) / len(x)
    G = root(instance(seed))
    assert np.allclose(G.T @ G, F.numpy(), rtol=1e-10, atol=1e-13)


def test_the_outputs_do_not_change_along_the_rescaling():
    drawn = instance(1)
    x, W, A = drawn.arrays
    h, d = W.shape
    v = null_directions(drawn)[0]
    assert np.allclose(v[: h * d].reshape(h, d)[0], W[0]) and np.allclose(v[h * d :].reshape(-1, h)[:, 0], -A[:, 0])
    scaled = W.copy(), A.copy()
    scaled[0][0] *= 3
    scaled[1][:, 0] /= 3
    assert np.allclose(np.maximum(x @ scaled[0].T, 0) @ scaled[1].T, np.maximum(x @ W.T, 0) @ A.T)


def test_the_bound_is_attained_and_the_rank_is_exact():
    """In rational arithmetic, without the probabilities, which do not change the rank: centred by the mean over classes."""
    rng = np.random.default_rng(5)
    x, W, A = (rng.integers(-4, 5, shape) for shape in ((9, 2), (2, 2), (3, 2)))
    rows = []
    for row in x.tolist():
        active = [int(np.dot(unit, row) > 0) for unit in W.tolist()]
        units = [a * int(np.dot(unit, row)) for a, unit in zip(active, W.tolist(), strict=True)]
        first = [[int(A[c, j]) * active[j] * m for j in range(2) for m in row] for c in range(3)]
        second = [[units[j] * (c == e) for e in range(3) for j in range(2)] for c in range(3)]
        jacobian = sp.Matrix([f + s for f, s in zip(first, second, strict=True)])
        rows.append(jacobian - sp.ones(3, 3) * jacobian / 3)
    drawn = Instance(*(tuple(map(tuple, array.astype(float).tolist())) for array in (x, W, A)))
    assert rank(root(drawn), slope(drawn)) == sp.Matrix.vstack(*rows).rank() == drawn.bound == 6


@pytest.mark.parametrize(
    "change, cause",
    [
        ({"inputs": ()}, "none of them empty"),
        ({"inputs": ((float("nan"),),)}, "of finite numbers"),
        ({"hidden": ((1.0, 1.0),)}, "do not fit"),
        ({"output": ((1.0,),)}, "C of at least 2"),
    ],
)
def test_bad_input_is_an_error(change, cause):
    with pytest.raises(ValueError, match=cause):
        Instance(**{"inputs": ((1.0,),), "hidden": ((1.0,),), "output": ((1.0,), (0.0,)), **change})
