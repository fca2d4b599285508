"""The rules of an end against the loss: two basins parted by a line, a saddle that holds, a domain that is left."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.toy_dynamics import METHODS, iterates, side_by_side
from theory.toy_ends import End, ends, landscape
from theory.toy_loss import AS_PRINTED, OF_THE_FIGURE, ToyLoss

SEEDS = st.integers(0, 2**32 - 1)


LOSSES = pytest.mark.parametrize("loss", [AS_PRINTED, OF_THE_FIGURE], ids=["as printed", "of the figure"])


@settings(deadline=None, max_examples=2)
@given(SEEDS)
def test_columns_do_not_meet(seed):
    rng = np.random.default_rng(seed)
    theta, rho = np.stack([rng.uniform(-40, 40, 4), rng.uniform(5, 60, 4)]), 10 ** rng.uniform(-2, 0, 4)
    lr = np.full(4, 30.0)
    every = [ends(OF_THE_FIGURE, method, theta, lr, rho, 120) for method in METHODS.values()]
    together = side_by_side(*METHODS.values())
    at_once = ends(OF_THE_FIGURE, together, np.tile(theta, 6), np.tile(lr, 6), np.tile(rho, 6), 120)
    assert (np.concatenate(every) == at_once).all()
    for k in range(4):
        one = ends(OF_THE_FIGURE, METHODS["FSAM"], theta[:, k : k + 1], lr[:1], rho[k : k + 1], 120)
        assert one[0] == every[3][k]


@LOSSES
def test_two_components_parted_by_a_line(loss):
    """{l < l(saddle)}: no crossing of the line, the minima on their sides, and gradient descent ends where the line says."""
    land = landscape(loss)
    across = np.array([-land.downhill[1], land.downhill[0]])
    along = np.concatenate([-np.geomspace(1e-3, 2000, 4000), np.geomspace(1e-3, 2000, 4000)])
    line = land.saddle[:, None] + across[:, None] * along
    line = line[:, loss.inside(line)]
    assert (loss.look(line)[0] > land.level).all()
    assert land.downhill @ (land.flat - land.saddle) > 0 > land.downhill @ (land.sharp - land.saddle)

    mu, sigma = np.meshgrid(np.linspace(-30, 40, 60), np.linspace(6, 45, 60))
    theta = np.stack([mu.ravel(), sigma.ravel()])
    theta = theta[:, loss.look(theta)[0] < land.level - 1e-4]
    n = theta.shape[1]
    found = ends(loss, METHODS["GD"], theta, np.full(n, 100.0), np.zeros(n), 400)
    flat = land.downhill @ (theta - land.saddle[:, None]) > 0
    assert n > 500 and (found == np.where(flat, End.FLAT, End.SHARP)).all()
    *_, last = (
        it for it, _ in zip(iterates(loss, METHODS["GD"], theta, np.full(n, 100.0), np.zeros(n)), range(2000), strict=False)
    )
    target = np.where(flat, land.flat[:, None], land.sharp[:, None])
    assert np.abs(last.theta - target).max() < 1e-9


@LOSSES
def test_a_start_at_the_saddle_is_held_and_small_radii_let_go(loss):
    land = landscape(loss)
    theta = land.saddle[:, None] + land.downhill[:, None] * [0.5, 0.5, -0.5]
    found = ends(loss, METHODS["SAM"], theta, np.full(3, 100.0), np.array([1.0, 0.25, 0.25]), 2000)
    assert found.tolist() == [End.SADDLE, End.FLAT, End.SHARP]


def test_past_the_root_of_two_a_probe_leaves_where_the_loss_falls_with_sigma():
    theta, radius = np.array([[20.0], [25.0]]), np.array([1.42])
    assert ends(OF_THE_FIGURE, METHODS["FSAM"], theta, np.array([100.0]), radius, 40)[0] == End.LEFT
    assert ends(OF_THE_FIGURE, METHODS["KL"], theta, np.array([100.0]), radius, 40)[0] != End.LEFT


def test_runs_that_cannot_be_made_are_an_error():
    theta, one = np.array([[0.0], [30.0]]), np.ones(1)
    with pytest.raises(ValueError, match="at least four"):
        ends(OF_THE_FIGURE, METHODS["GD"], theta, one, one, 3)
    with pytest.raises(ValueError, match="move it"):
        next(iterates(OF_THE_FIGURE, METHODS["GD"], -theta, one, one))
    for lr, rho in ((-one, one), (one, -one), (one * math.nan, one), (one, one * math.nan)):
        with pytest.raises(ValueError, match="pass lr ≥ 0 and ρ ≥ 0"):
            next(iterates(OF_THE_FIGURE, METHODS["GD"], theta, lr, rho))
    with pytest.raises(ValueError, match="stay nearer to those of eq"):
        landscape(ToyLoss(weights=(1.0, 1e-6)))
