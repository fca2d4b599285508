"""What a model's passes tell: kernels for inference, models that differentiate in their forward, inputs that are written to."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam.core import vectors as vec
from geosam.metrics import EmpiricalFisher, Euclidean, KLExact
from geosam.observation import PredictiveDistribution
from geosam.problem.likelihoods import categorical
from tests.networks import build, draw, labels, mlp

X, Y = draw(6, 4, dtype=torch.float64), labels(6)


class ByMode(nn.Module):
    """Stands for a fused kernel: another function where no graph is recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.stem(x))
        return self.head(h if torch.is_grad_enabled() and self.stem.weight.requires_grad else h.square())


class Force(nn.Module):
    """Its outputs are derivatives with respect to its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


def true_kl(model: nn.Module, epsilon: list[Tensor]) -> Tensor:
    before = model(X).detach()
    with torch.no_grad():
        for p, e in zip(model.parameters(), epsilon, strict=True):
            p.add_(e)
    after = model(X).detach()
    with torch.no_grad():
        for p, e in zip(model.parameters(), epsilon, strict=True):
            p.sub_(e)
    return F.kl_div(before.log_softmax(1), after.log_softmax(1), log_target=True, reduction="batchmean")


@pytest.mark.parametrize("make", [ByMode, Force])
def test_theta_and_theta_plus_epsilon_are_evaluated_as_in_training(make):
    model = build(make, dtype=torch.float64)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    seen = geosam.observe(bound, (PredictiveDistribution(),))
    epsilon = vec.scale(seen.gradient, 1e-2)
    torch.testing.assert_close(seen[PredictiveDistribution()].kl(epsilon), true_kl(model, epsilon), rtol=1e-6, atol=0)
    rise = bound.surface().rise(epsilon)
    assert rise == pytest.approx(vec.dot(seen.gradient, epsilon).item(), rel=0.05)


def test_a_frozen_part_with_a_kernel_of_its_own_is_refused():
    model = build(ByMode, dtype=torch.float64)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y).wrt([model.head.weight])
    with pytest.raises(ValueError, match=r"other outputs in training.*set_fastpath_enabled"):
        geosam.observe(bound, (PredictiveDistribution(),))


@pytest.mark.parametrize("metric", [Euclidean(), EmpiricalFisher(), KLExact(along=Euclidean())])
def test_a_model_that_writes_into_its_inputs_is_refused(metric):
    model, x = build(lambda: nn.Sequential(nn.ReLU(inplace=True), mlp()), dtype=torch.float64), X.clone()
    optimizer = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric)
    with pytest.raises(RuntimeError, match=r"writes into its inputs.*x.clone"):
        optimizer.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(x, Y))
    if metric.needs:
        assert torch.equal(x, X)


def test_a_structure_is_probed_once():
    model, calls = build(mlp, dtype=torch.float64), []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    problem, optimizer = geosam.Problem(model, nn.CrossEntropyLoss()), geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    optimizer.step(problem.on(X, Y))
    assert len(calls) == 2  # the gradient alone needs no probe
    optimizer.metric = KLExact(along=Euclidean())
    optimizer.step(problem.on(X, Y))
    first = len(calls)
    optimizer.step(problem.on(X, Y))
    assert first > 2 + 5 and len(calls) - first <= 5


def test_dropout_is_found_as_random_and_not_refused():
    model = build(lambda: nn.Sequential(nn.Dropout(0.5), mlp()), dtype=torch.float64)
    assert geosam.Problem(model, nn.CrossEntropyLoss(), categorical).on(X, Y).facts(list(model.parameters())).random
