"""The laws are only as good as their cases: the strategies really draw the hard ones, often, and from Hypothesis alone."""

import math
import sys

import pytest
import torch
from hypothesis import find, settings
from torch import nn

from geosam.rows import Pulled
from geosam.testing import strategies

FLOAT64, FLOAT32 = torch.float64, torch.float32
LIKE = [torch.zeros(3, 2), torch.zeros(4), torch.zeros(())]


def among(strategy, condition, tries=200):
    """A draw that meets the condition, found within so many tries; NoSuchExample otherwise."""
    return find(strategy, condition, settings=settings(settings.get_profile("meta"), max_examples=tries))


def flat(tensors):
    return torch.cat([t.reshape(-1).double() for t in tensors])


def matrix(jacobian):
    return torch.cat([j.reshape(len(j), -1).double() for j in jacobian], 1)


def has_duplicate_rows(jacobian):
    rows = matrix(jacobian).tolist()
    return len({tuple(row) for row in rows if any(row)}) < sum(any(row) for row in rows)


def is_rank_deficient(jacobian):
    rows = matrix(jacobian)
    return torch.linalg.matrix_rank(rows) < min(rows.shape)


@pytest.mark.parametrize(
    "condition",
    [
        lambda d: flat(d).max() / flat(d).min() >= 1e7,
        lambda d: flat(d).min() <= 1e-4,
        lambda d: flat(d).max() >= 1e4,
        lambda d: flat(d).max() / flat(d).min() <= 1e3,
    ],
)
def test_diagonals_are_ill_conditioned_and_not_always(condition):
    among(strategies.diagonals(LIKE), condition)


@pytest.mark.parametrize(
    "condition",
    [
        has_duplicate_rows,
        is_rank_deficient,
        lambda j: not is_rank_deficient(j) and len(matrix(j)) >= 3,
        lambda j: (matrix(j) == 0).all(1).any(),
        lambda j: matrix(j).norm(dim=1).max() >= 1e3 * matrix(j).norm(dim=1).min() > 0,
        lambda j: len(matrix(j)) == 1,
        lambda j: torch.linalg.svdvals(matrix(j))[-1] > 0.1,
    ],
)
def test_jacobians_are_rank_deficient_repeated_and_badly_scaled(condition):
    among(strategies.jacobians(LIKE), condition)


@pytest.mark.parametrize(
    "condition",
    [
        lambda shapes: len({len(s) for s in shapes}) >= 3,
        lambda shapes: (1,) in shapes,
        lambda shapes: () in shapes,
        lambda shapes: any(len(s) == 4 for s in shapes),
        lambda shapes: len(shapes) == 1,
        lambda shapes: len(shapes) == 4,
    ],
)
def test_spaces_mix_scalars_matrices_and_kernels(condition):
    among(strategies.shapes(), condition)


def test_both_types_are_drawn():
    for dtype in (FLOAT64, FLOAT32):
        among(strategies.spaces(), lambda like, dtype=dtype: like[0].dtype == dtype)
        among(strategies.problems(), lambda bound, dtype=dtype: bound.x.dtype == dtype)


@pytest.mark.parametrize(
    "condition",
    [
        lambda c: flat(c).abs().max() <= 1e-24,
        lambda c: flat(c).abs().max() >= 1e17,
        lambda c: 0.1 <= flat(c).abs().max() <= 10,
        lambda c: (flat(c) != 0).sum() == 1,
        lambda c: (flat(c) != 0).all() and flat(c).abs().max() / flat(c).abs().min() >= 1e6,
        lambda c: (flat(c).abs() == flat(c).abs()[0]).all(),
        lambda c: (flat(c) > 0).any() and (flat(c) < 0).any(),
    ],
)
def test_covectors_in_float32_are_of_every_scale_and_shape(condition):
    among(strategies.covectors(LIKE), condition)


def test_covectors_of_rows_lie_in_the_row_space_half_of_the_time():
    rows = among(strategies.rows(LIKE), lambda rows: rows.n >= 2)
    among(strategies.covectors(LIKE, rows), lambda c: isinstance(c, Pulled), 20)
    among(strategies.covectors(LIKE, rows), lambda c: not isinstance(c, Pulled), 20)


@pytest.mark.parametrize("condition", [lambda d: d.power >= 60, lambda d: d.power <= -60, lambda d: math.isnan(d.spoil[1])])
def test_draws_rescale_by_twenty_orders_of_magnitude(condition):
    found = among(strategies.draws(LIKE), condition)
    scale = float(flat(found.c).abs().max()) * 2.0**found.power
    assert 1e-26 < scale < 1e19


def test_nothing_that_must_not_be_zero_is_zero():
    for drawn in (among(strategies.draws(LIKE), lambda _: True, 1) for _ in range(5)):
        assert all(flat(v).abs().max() > 0 for v in (drawn.c, drawn.d, drawn.u, drawn.v, drawn.step))


@pytest.mark.parametrize(
    "condition",
    [
        lambda b: any(isinstance(m, nn.Conv2d) for m in b.model),
        lambda b: any(isinstance(m, nn.Tanh) for m in b.model),
        lambda b: any(isinstance(m, nn.ReLU) for m in b.model),
        lambda b: len(list(b.model.buffers())) > 0,
        lambda b: isinstance(b.loss, nn.CrossEntropyLoss) and b.loss.label_smoothing > 0,
        lambda b: isinstance(b.loss, nn.MSELoss),
        lambda b: isinstance(b.loss, nn.BCEWithLogitsLoss),
        lambda b: b.n == 1,
        lambda b: b.n == 5,
    ],
)
def test_problems_differ_in_model_loss_and_batch(condition):
    among(strategies.problems(), condition)


def test_torch_s_own_random_numbers_play_no_part():
    before = torch.get_rng_state()
    for strategy in (strategies.problems(), strategies.draws(LIKE), strategies.rows(LIKE), strategies.observations()):
        among(strategy, lambda _: True, 10)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_failure_shrinks_to_the_simplest_vector():
    smallest = find(strategies.vectors(LIKE), lambda v: flat(v).abs().max() >= 1, settings=settings.get_profile("ci"))
    assert flat(smallest).tolist() == [1.0] + [0.0] * 10


def test_without_hypothesis_the_cure_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("geosam.testing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(ImportError, match="pip install hypothesis"):
        __import__("geosam.testing")
