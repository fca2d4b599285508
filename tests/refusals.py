"""Steps that are refused: a clear error that names cause and cure, and nothing changed."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import geosam
from geosam import SAM
from geosam.objectives import Smoothed
from tests.networks import Closure, build, draw, labels, mlp

X, Y = draw(6, 4), labels(6)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def refused(
    error: type[Exception], match: str, metric: geosam.Metric | None, source: Callable[[nn.Module], Any], **settings: Any
) -> None:
    """A step raises this, and leaves parameters, optimizer state, memory and random numbers of training alone."""
    model = settings.pop("model", None) or build(mlp)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), metric, objective=Smoothed(0.5), **settings)
    values, state = copy.deepcopy(model.state_dict()), copy.deepcopy(opt.state_dict())
    with pytest.raises(error, match=match):
        opt.step(source(model))
    assert all(torch.equal(v, values[k]) for k, v in model.state_dict().items())
    now = opt.state_dict()
    assert now["state"] == state["state"] == {} and now["param_groups"] == state["param_groups"]


def closure(model: nn.Module) -> Closure:
    return Closure(model, X, Y)


def problem(model: nn.Module, loss: Any = None) -> geosam.problem.Bound:
    return geosam.Problem(model, loss or nn.CrossEntropyLoss()).on(X, Y)


def dead() -> nn.Module:
    """Hidden units that are off for every sample; and 27 parameters, more than six samples of three outputs can tell apart."""
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3))
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    return model
