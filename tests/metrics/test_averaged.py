"""Averaged: what is averaged, with which weights, and that its memory is saved, restored and explicit."""

import io
from typing import Any

import pytest
import torch
from torch import nn

import geosam
from geosam import SAM, metrics
from geosam.metrics import Averaged, BlockDiagonal, DiagonalFisher, KroneckerFisher
from tests.fishers import FLOAT64, closeness, dense
from tests.networks import build, clones, draw, labels, mlp, same

DECAY = 0.8
AVERAGED: list[Any] = [
    Averaged(DiagonalFisher(0.1), DECAY),
    Averaged(DiagonalFisher(), DECAY),
    Averaged(metrics.DiagonalEmpiricalFisher(0.1), DECAY),
    Averaged(metrics.GradientMagnitude(1.0, 0.01), DECAY),
    Averaged(metrics.ParameterScaled(), DECAY),
    Averaged(KroneckerFisher(0.1), DECAY),
    Averaged(KroneckerFisher(), DECAY),
    BlockDiagonal(Averaged(DiagonalFisher(), DECAY)),
    KroneckerFisher(0.1, rest=Averaged(DiagonalFisher(0.1), DECAY)),
]
SEEDED = Averaged(DiagonalFisher(0.1, metrics.MonteCarlo(1)), DECAY)


def bind(k, model=None, dtype=FLOAT64):
    model = build(mlp, dtype=dtype) if model is None else model
    return geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4, seed=k, dtype=dtype), labels(6, seed=k))


def walk(metric, steps, bounds=bind):
    """The norms of successive steps, and the last state."""
    state, found = {}, []
    for k in range(steps):
        norm, state = metric.step(geosam.observe(bounds(k), metric.needs), state)
        found.append(norm)
    return found, state


def mean(matrices):
    """By definition: weights decay^{t−s}, normalised."""
    weights = torch.tensor([DECAY ** (len(matrices) - 1 - s) for s in range(len(matrices))], dtype=FLOAT64)
    return sum(w * m for w, m in zip(weights / weights.sum(), matrices, strict=True))


@pytest.mark.parametrize("metric", AVERAGED[:5], ids=repr)
def test_a_diagonal_is_averaged_as_it_is(metric):
    like = bind(0).parameters
    each = [dense(metric.metric.at(bind(k)), like) for k in range(4)]
    found, state = walk(metric, 4)
    for t, norm in enumerate(found):
        assert closeness(dense(norm, like), mean(each[: t + 1])) < 1e-12
    assert [int(t) for t in state["steps"]] == [4] * len(like)


@pytest.mark.parametrize("metric", AVERAGED[5:7], ids=repr)
def test_kronecker_factors_are_averaged_apart_and_damped_afterwards(metric):
    each = [metric.metric.at(bind(k)).blocks for k in range(4)]
    norm = walk(metric, 4)[0][-1]
    for b, block in enumerate(norm.blocks):
        assert closeness(block.outer, mean([blocks[b].outer for blocks in each])) < 1e-12
        assert closeness(block.inner, mean([blocks[b].inner for blocks in each])) < 1e-12
    share = metric.metric.damping.ratio if isinstance(metric.metric.damping, metrics.Relative) else None
    trace = sum(block.outer.trace() * block.inner.trace() for block in norm.blocks) / 51
    assert float(norm.damping) == pytest.approx(0.1 if share is None else share * float(trace), rel=1e-12)


def test_a_steady_geometry_is_its_own_average():
    like = bind(0).parameters
    for metric in AVERAGED[:7]:
        found, _ = walk(metric, 5, lambda k: bind(0))
        assert closeness(dense(found[-1], like), dense(metric.metric.at(bind(0)), like)) < 1e-12


@pytest.mark.parametrize("metric", [*AVERAGED, SEEDED], ids=repr)
def test_reloaded_training_is_uninterrupted_training(metric):
    def start(seed=0):
        model = build(mlp, seed)
        return model, SAM(torch.optim.SGD(model.named_parameters(), lr=0.1, momentum=0.9), metric, rho=0.1)

    def train(model, opt, steps):
        for k in steps:
            torch.manual_seed(k)
            opt.step(bind(k, model, torch.float32))

    model, opt = start()
    train(model, opt, range(3))
    buffer = io.BytesIO()
    torch.save({"model": model.state_dict(), "opt": opt.state_dict()}, buffer)
    train(model, opt, range(3, 6))
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    resumed, other = start(seed=1)
    train(resumed, other, range(20, 22))
    resumed.load_state_dict(saved["model"])
    other.load_state_dict(saved["opt"])
    train(resumed, other, range(3, 6))
    assert same(clones(model), clones(resumed))

    forgetful, third = start()
    forgetful.load_state_dict(saved["model"])
    third.load_state_dict({k: v for k, v in saved["opt"].items() if k != "geosam"})
    train(forgetful, third, range(3, 6))
    assert not same(clones(model), clones(forgetful))


def test_groups_with_radii_of_their_own_average_apart():
    model = build(mlp)
    groups = [{"params": list(model[0].parameters()), "rho": 0.1}, {"params": list(model[2].parameters()), "rho": 0.3}]
    opt = SAM(torch.optim.SGD(groups, lr=0.1), Averaged(DiagonalFisher(0.1), DECAY))
    for k in range(3):
        opt.step(bind(k, model, torch.float32))
    assert [int(t) for t in opt.state_dict()["geosam"]["metric"]["steps"]] == [3] * 4


@pytest.mark.parametrize("metric", AVERAGED[:7], ids=repr)
def test_an_observation_that_is_not_finite_does_not_enter(metric):
    if isinstance(metric.metric, metrics.ParameterScaled):
        bad = geosam.Problem(build(mlp, dtype=FLOAT64), nn.CrossEntropyLoss())
    else:
        bad = geosam.Problem(build(mlp, dtype=FLOAT64), nn.CrossEntropyLoss())
    spoiled = bad.on(draw(6, 4, dtype=FLOAT64) * torch.nan, labels(6))
    for first in (0, 1):
        _, state = walk(metric, first)
        norm, after = metric.step(geosam.observe(spoiled, metric.needs), state)
        assert {int(t) for t in after["steps"]} == {first}
        norm, _ = metric.step(geosam.observe(bind(5), metric.needs), after)
        clean, _ = metric.step(geosam.observe(bind(5), metric.needs), state)
        assert torch.equal(dense(norm, bind(0).parameters), dense(clean, bind(0).parameters))


def test_a_weight_that_was_zero_stays_pinned():
    metric = Averaged(metrics.ParameterScaled(0.0), DECAY)
    model = build(mlp, dtype=FLOAT64)
    with torch.no_grad():
        model[0].weight[0, 0] = 0
    _, state = metric.step(geosam.observe(bind(0, model), metric.needs), {})
    with torch.no_grad():
        model[0].weight[0, 0] = 1
    seen = geosam.observe(bind(0, model), metric.needs)
    norm, _ = metric.step(seen, state)
    assert norm.sharp(seen.gradient)[0][0, 0] == 0 and torch.isfinite(norm.dual_norm(seen.gradient))


def test_other_parameters_start_anew():
    metric = Averaged(DiagonalFisher(0.1), DECAY)
    _, state = walk(metric, 2)
    bound = geosam.Problem(build(lambda: nn.Linear(4, 3), dtype=FLOAT64), nn.CrossEntropyLoss()).on(
        draw(6, 4, dtype=FLOAT64), labels(6)
    )
    seen = geosam.observe(bound, metric.needs)
    norm, state = metric.step(seen, state)
    assert {int(t) for t in state["steps"]} == {1}
    assert torch.equal(dense(norm, bound.parameters), dense(metric.metric.at(seen), bound.parameters))


def test_an_average_of_an_average_keeps_both_memories():
    metric = Averaged(Averaged(DiagonalFisher(0.1), 0.5), DECAY)
    state = walk(metric, 3)[1]
    assert {int(t) for t in (*state["steps"], *state["metric"]["steps"])} == {3}


def test_the_euclidean_average_is_euclidean():
    assert isinstance(walk(Averaged(metrics.Euclidean()), 2)[0][-1], geosam.norms.Identity)


@pytest.mark.parametrize(
    "metric", [metrics.Fisher(0.1), metrics.EmpiricalFisher(0.1), BlockDiagonal(DiagonalFisher()), metrics.KLExact()], ids=repr
)
def test_what_has_no_average_of_bounded_size_is_refused(metric):
    with pytest.raises(TypeError, match=r"Average a diagonal or Kronecker-factored.*BlockDiagonal\(Averaged"):
        Averaged(metric).at(bind(0))


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_lies_below_one(decay):
    with pytest.raises(ValueError, match="decay"):
        Averaged(DiagonalFisher(), decay)


def test_a_metric_is_an_instance():
    with pytest.raises(TypeError, match="metric"):
        Averaged(DiagonalFisher)
