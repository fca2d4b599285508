"""Policies of passes: what each step costs and does."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import metrics
from geosam.optim.passes import Both, Every, Late, Momentum
from tests.networks import build, draw, labels, mlp

X, Y = draw(6, 4, dtype=torch.float64), labels(6)


class Counted:
    """A closure that counts its calls and notes where they were."""

    def __init__(self, passes, rho=0.1, base=torch.optim.SGD, **options) -> None:
        self.model = build(mlp, dtype=torch.float64)
        options = options or {"lr": 0.1, "momentum": 0.9}
        self.opt = geosam.SAM(base(self.model.parameters(), **options), rho=rho, passes=passes)
        self.where: list[torch.Tensor] = []

    def theta(self) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in self.model.parameters()])

    def __call__(self) -> torch.Tensor:
        self.opt.zero_grad()
        self.where.append(self.theta())
        loss = F.cross_entropy(self.model(X), Y)
        loss.backward()
        return loss

    def steps(self, n: int) -> list[int]:
        counts = []
        for _ in range(n):
            before = len(self.where)
            self.opt.step(self)
            counts.append(len(self.where) - before)
        return counts


@pytest.mark.parametrize(
    ("passes", "expected"),
    [
        (Both(), [2, 2, 2, 2, 2]),
        (Every(3), [2, 1, 1, 2, 1]),
        (Every(3, again=True), [2, 1, 1, 2, 1]),
        (Late(3), [1, 1, 1, 2, 2]),
        (Momentum(), [2, 1, 1, 1, 1]),
    ],
    ids=str,
)
def test_passes_are_counted(passes, expected):
    assert Counted(passes).steps(5) == expected


def test_plain_steps_are_the_base_optimizers():
    one, two = Counted(Late(3)), Counted(Both(), rho=0.0)
    one.steps(3)
    two.steps(3)
    assert torch.equal(one.theta(), two.theta())


def test_the_last_epsilon_comes_again():
    run = Counted(Every(2, again=True))
    run.steps(1)
    epsilon, theta = run.where[1] - run.where[0], run.theta()
    loss = run.opt.step(run)
    torch.testing.assert_close(run.where[2] - theta, epsilon)
    torch.testing.assert_close(loss, run.opt.last.loss)
    assert loss.isfinite()


@pytest.mark.parametrize(
    ("base", "options", "key"),
    [(torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}, "momentum_buffer"), (torch.optim.Adam, {"lr": 0.01}, "exp_avg")],
)
def test_momentum_leads(base, options, key):
    run = Counted(Momentum(), base=base, **options)
    run.steps(1)
    m = torch.cat([run.opt.state[p][key].flatten() for p in run.model.parameters()])
    theta = run.theta()
    run.steps(1)
    torch.testing.assert_close(run.where[2] - theta, 0.1 * m / m.norm())


def test_momentum_is_no_pass_for_metrics_that_need_samples():
    model = build(mlp, dtype=torch.float64)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), 0.1, momentum=0.9), metrics.EmpiricalFisher(), passes=Momentum())
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    opt.step(bound)
    with pytest.raises(TypeError, match=r"EmpiricalFisher needs more than a gradient"):
        opt.step(bound)


def test_a_checkpoint_resumes_between_first_passes():
    run = Counted(Every(3, again=True))
    run.steps(2)
    weights, saved = copy.deepcopy(run.model.state_dict()), copy.deepcopy(run.opt.state_dict())
    other = Counted(Every(3, again=True))
    other.model.load_state_dict(weights)
    other.opt.load_state_dict(saved)
    assert other.steps(3) == run.steps(3) == [1, 2, 1]
    assert torch.equal(run.theta(), other.theta())


def test_perturb_takes_no_pass_where_none_is_due():
    run = Counted(Late(1))
    theta = run.theta()
    run.opt.perturb(run)
    assert not run.where and torch.equal(theta, run.theta())
    F.cross_entropy(run.model(X), Y).backward()
    run.opt.base.step()
    run.opt.perturb(run)
    assert len(run.where) == 1 and not torch.equal(run.where[0], run.theta())


def test_errors():
    with pytest.raises(ValueError, match="whole number"):
        Every(0)
    with pytest.raises(TypeError, match="passes must be"):
        Counted(Every)
