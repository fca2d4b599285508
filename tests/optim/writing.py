"""Models whose passes write to buffers, and the routes of a step over them."""

import torch
from torch import nn
from torch.nn import functional as F

import geosam
from tests.networks import FEATURES, draw, labels

X, Y = draw(8, FEATURES), labels(8)
PASSES = {"first": (True, False), "both": (True, True), "second": (False, True)}


class Counter(nn.Module):
    """A user's own: one buffer written in place, one replaced, one that is constant."""

    calls: torch.Tensor
    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("table", torch.ones(1000))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.add_(1)
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return x - self.mean


def uncounted() -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(6)
    norm.num_batches_tracked = None
    return norm


class Rows(nn.Module):
    """InstanceNorm over six channels of two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm1d(6, track_running_stats=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(torch.stack([x, 2 * x], 2)).sum(2) + x


KINDS = {
    "BatchNorm": lambda: nn.BatchNorm1d(6),
    "cumulative": lambda: nn.BatchNorm1d(6, momentum=None),
    "no counter": uncounted,
    "no weights": lambda: nn.BatchNorm1d(6, affine=False),
    "SyncBatchNorm": lambda: nn.SyncBatchNorm(6),
    "InstanceNorm": Rows,
    "user's": Counter,
}


def net(kind: str = "BatchNorm") -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, 6), KINDS[kind](), nn.Tanh(), nn.Linear(6, 3))


def values(model: nn.Module) -> list[torch.Tensor]:
    return [b.clone() for b in model.buffers()]


def closure_of(model: nn.Module):
    def closure() -> torch.Tensor:
        model.zero_grad()
        loss = F.cross_entropy(model(X), Y)
        loss.backward()
        return loss

    return closure


def by_closure(opt, model):
    opt.step(closure_of(model))


def by_problem(opt, model):
    opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y))


def by_perturb(opt, model, until="step"):
    opt.zero_grad()
    opt.perturb(geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y), until=until)
    F.cross_entropy(model(X), Y).backward()
    opt.base.step()


def by_perturb_until_backward(opt, model):
    by_perturb(opt, model, "backward")


def by_perturbed(opt, model):
    with opt.perturbed(closure_of(model)):
        F.cross_entropy(model(X), Y).backward()
    opt.base.step()


def by_list(opt, model):
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    opt.step([problem.on(X[:4], Y[:4]), problem.on(X[4:], Y[4:])])


ROUTES = [by_closure, by_problem, by_perturb, by_perturb_until_backward, by_perturbed, by_list]
