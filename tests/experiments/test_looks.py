"""What the studies measure along training, on a small network, against what it says."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from experiments.budget.look import Spent
from experiments.common.methods import EQUAL, FSAM, SAM, rows
from experiments.common.protocol import Protocol
from experiments.common.protocol import tested as score_of
from experiments.common.solved import cosine, geometric_mean
from experiments.common.source import Source
from experiments.magnitude.look import Apart
from experiments.perturb.score import Moved
from experiments.sensitivity.look import Angle
from geosam.ablation import Method, Rule, Training
from geosam.metrics import Euclidean, GradientMagnitude

DATA = Source("digits", batch=20, train=60, test=40)
TINY = Protocol("nobody", DATA, "digit_mlp", rows((EQUAL, SAM, FSAM)), epochs=8, rule=Rule(against=SAM))


@pytest.fixture(scope="module")
def trained():
    """A run's training by method."""
    found = {}
    methods = {**TINY.methods, "η 1000": Method(GradientMagnitude(1000.0, 1.0))}
    for run in replace(TINY, methods=methods, seeds=1).ablation().runs():
        found[run.name] = Training(run)
        list(found[run.name].epochs())
    return found


def test_nothing_is_measured_of_the_base_optimizer_but_what_asks_for_theta_alone(trained):
    assert Spent()(trained[EQUAL]) == Angle()(trained[EQUAL]) == {} and Angle()(trained[SAM]) == {}
    assert set(Apart()(trained[EQUAL])) == {"direction", "scale", "epsilon", "fisher"}


def test_the_length_of_sam_is_its_radius_and_kl_is_over_half_its_square(trained):
    found = Spent()(trained[SAM])
    assert found["length"] == pytest.approx(0.05, rel=1e-4)
    assert found["spent"] == pytest.approx(found["kl"] / (0.05**2 / 2)) and found["kl"] > 0


def test_the_angle_to_sam_grows_with_eta_and_is_largest_within_a_layer(trained):
    published, strong = Angle()(trained[FSAM]), Angle()(trained["η 1000"])
    assert 0 < published["gap"] < 1e-2 < strong["gap"] and all(found["layer"] > found["gap"] for found in (published, strong))


def test_the_two_diagonals_are_those_of_a_loop_over_samples(trained):
    training = trained[SAM]
    found = Apart()(training)
    cosines, scales = [], []
    for x, y in training.probes():
        each = []
        for i in range(len(y)):
            loss = nn.functional.cross_entropy(training.model(x[i : i + 1]), y[i : i + 1])
            each.append(torch.cat([g.flatten().double() for g in torch.autograd.grad(loss, list(training.model.parameters()))]))
        rows_ = torch.stack(each)
        magnitude, squares = rows_.mean(0).square(), rows_.square().mean(0)
        cosines.append((magnitude @ squares / (magnitude.norm() * squares.norm())).item())
        scales.append((magnitude.sum() / squares.sum()).item())
    assert found["direction"] == pytest.approx(geometric_mean(cosines), rel=1e-4)
    assert found["scale"] == pytest.approx(geometric_mean(scales), rel=1e-4)


def test_weights_are_moved_by_alpha_along_the_gradient_and_put_back(trained):
    training, source = trained[SAM], TINY.data
    moved = Moved(source, alphas=(0.0, 2.0), geometries={"Euclidean": Euclidean()}, samples=60, draws=1)
    before = [p.clone() for p in training.model.parameters()]
    found = training.setting.score(training.model, None, training.data.test)
    score = moved(training.model, None, training.data.test)
    assert all(torch.equal(p, q) for p, q in zip(training.model.parameters(), before, strict=True))
    assert score["accuracy"] == score["adversarial, Euclidean, α 0"] == score["Gaussian, Euclidean, α 0"] == found["accuracy"]
    task = source.task
    loss = nn.functional.cross_entropy(training.model(task.standardise(task.split.x)), task.split.y)
    gradient = torch.autograd.grad(loss, list(training.model.parameters()))
    length = math.sqrt(sum(g.square().sum().item() for g in gradient))
    with torch.no_grad():
        for p, g in zip(training.model.parameters(), gradient, strict=True):
            p.add_(g, alpha=2 / length)
        by_hand = score_of(training.model, None, training.data.test)["accuracy"]
        for p, q in zip(training.model.parameters(), before, strict=True):
            p.copy_(q)
    assert score["adversarial, Euclidean, α 2"] == by_hand != score["accuracy"]
    assert score["adversarial, Euclidean, area"] == pytest.approx((by_hand + score["accuracy"]) / 2)
    assert score["Gaussian, Euclidean, α 2"] != by_hand


def test_cosines_are_taken_in_float64():
    a = [torch.ones(3), torch.zeros(1)]
    assert 0 < 1 - cosine(a, [torch.ones(3), torch.full((1,), 1e-6)]) < 1e-12
    assert math.isnan(geometric_mean([1.0, math.inf])) and geometric_mean([1.0, 4.0]) == pytest.approx(2.0)
