"""A list of micro-batches is one big batch: one ball, one update."""

import numpy as np
import pytest
import torch
from torch import nn

import geosam
from geosam import metrics, norms, objectives, solvers
from tests.networks import build, cnn, draw, labels, mlp

X, Y = draw(12, 4, dtype=torch.float64), labels(12)
CUTS = (slice(0, 3), slice(3, 8), slice(8, 12))
PARTS = [
    {"metric": metrics.Euclidean()},
    {"metric": metrics.ParameterScaled()},
    {"metric": metrics.GradientMagnitude()},
    {"metric": metrics.Monge()},
    {"metric": metrics.FilterWise()},
    {"metric": norms.Sup()},
    {"metric": metrics.EmpiricalFisher()},
    {"metric": metrics.DiagonalEmpiricalFisher()},
    {"metric": metrics.Fisher()},
    {"metric": metrics.Fisher(rows_limit=0)},
    {"metric": metrics.DiagonalFisher()},
    {"metric": metrics.KroneckerFisher()},
    {"metric": metrics.KLExact()},
    {"metric": metrics.KLExact(along=metrics.GradientMagnitude())},
    {"metric": metrics.Averaged(metrics.DiagonalEmpiricalFisher(), 0.9), "objective": objectives.Smoothed(0.9)},
    {"objective": objectives.NoiseWeighted()},
    {"solver": solvers.MultiStep(2)},
    {"solver": solvers.ExactRise(0.05)},
]


def trained(parts, split, loss=None, net=mlp, x=X, y=Y, steps=2):
    model = build(net, dtype=torch.float64)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.1, **parts)
    problem = geosam.Problem(model, loss or nn.CrossEntropyLoss())
    losses = [opt.step([problem.on(x[cut], y[cut]) for cut in CUTS] if split else problem.on(x, y)) for _ in range(steps)]
    return [p.detach() for p in model.parameters()], losses, opt.last.dual_norm


@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: " ".join(type(v).__name__ for v in parts.values()))
def test_one_big_batch(parts):
    torch.testing.assert_close(trained(parts, True), trained(parts, False), rtol=1e-11, atol=1e-14)


def test_convolutions_in_float64():
    x = draw(12, 2, 6, 6, dtype=torch.float64)
    parts = {"metric": metrics.EmpiricalFisher()}
    torch.testing.assert_close(trained(parts, True, net=cnn, x=x), trained(parts, False, net=cnn, x=x), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("metric", [metrics.Euclidean(), metrics.EmpiricalFisher()], ids=lambda m: type(m).__name__)
def test_class_weights_and_ignored_targets_share_their_denominator(metric):
    loss = nn.CrossEntropyLoss(weight=draw(3, dtype=torch.float64).exp(), ignore_index=1)
    y = torch.tensor([0, 1, 1, 2, 2, 0, 2, 1, 0, 0, 2, 1])
    torch.testing.assert_close(
        trained({"metric": metric}, True, loss, y=y), trained({"metric": metric}, False, loss, y=y), rtol=1e-11, atol=1e-14
    )


def test_the_routes_agree_and_theta_is_back():
    model = build(mlp, dtype=torch.float64)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metrics.EmpiricalFisher(), rho=0.1)
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    theta = [p.detach().clone() for p in model.parameters()]
    batches = [problem.on(X[cut], Y[cut]) for cut in CUTS]
    with opt.perturbed(batches) as p:
        split = p.epsilon
    opt.perturb(batches)
    held = [a - b for a, b in zip(model.parameters(), theta, strict=True)]
    opt.restore()
    with opt.perturbed(problem.on(X, Y)) as p:
        torch.testing.assert_close([split, held], [p.epsilon, p.epsilon], rtol=1e-10, atol=1e-15)
    assert all(map(torch.equal, theta, (p.detach() for p in model.parameters())))


def test_line_searches_and_plain_steps_take_lists():
    ends = []
    for split in (True, False):
        model = build(mlp, dtype=torch.float64)
        problem = geosam.Problem(model, nn.CrossEntropyLoss())
        batches = [problem.on(X[cut], Y[cut]) for cut in CUTS] if split else problem.on(X, Y)
        for base, rho in (
            (torch.optim.LBFGS(model.parameters(), max_iter=3), 0.05),
            (torch.optim.SGD(model.parameters(), 0.1), 0.0),
        ):
            geosam.SAM(base, rho=rho).step(batches)
        ends.append([p.detach() for p in model.parameters()])
    torch.testing.assert_close(*ends, rtol=1e-9, atol=1e-14)


def test_errors():
    model = build(mlp, dtype=torch.float64)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metrics.EmpiricalFisher())
    problem, other = (geosam.Problem(model, nn.CrossEntropyLoss()) for _ in range(2))
    with pytest.raises(ValueError, match="list of micro-batches is empty"):
        opt.step([])
    with pytest.raises(TypeError, match=r"holds problems on them.*loop over the micro-batches inside"):
        opt.step([lambda: None])
    with pytest.raises(ValueError, match="several problems"):
        opt.step([problem.on(X, Y), other.on(X, Y)])
    sequences = geosam.Problem(model, nn.MSELoss())
    uneven = [sequences.on(draw(2, t, 4, dtype=torch.float64), draw(2, t, 3, dtype=torch.float64)) for t in (3, 5)]
    with pytest.raises(ValueError, match=r"\(2, 3, 4\), \(2, 5, 4\) cannot be joined.*opt.perturb"):
        opt.step(uneven)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = build(mlp, dtype=torch.float64)

    def forward(self, x, scale):
        return self.body(x) * torch.as_tensor(scale)


def test_values_beside_tensors_belong_to_a_whole_batch():
    model = Scaled()
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metrics.EmpiricalFisher())
    same = [np.full(1, 2.0), np.full(1, 2.0)]
    opt.step([problem.on((X[cut], scale), Y[cut]) for cut, scale in zip(CUTS, same, strict=False)])
    for scales, told in (((1.0, 3.0), "1.0 and 3.0"), ((np.zeros(1), np.zeros(2)), "beside")):
        with pytest.raises(ValueError, match=rf"micro-batches that hold .*{told}.*one entry a sample"):
            opt.step([problem.on((X[cut], scale), Y[cut]) for cut, scale in zip(CUTS, scales, strict=False)])
