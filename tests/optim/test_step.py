"""The five acts of a step, in their order, and where the parameters are in each."""

import pytest
import torch
from torch import nn

import geosam
from geosam.optim.descent import Descent
from geosam.optim.groups import Groups
from geosam.optim.step import Step
from tests.networks import build, draw, labels, mlp

ACTS = {"observe": Step, "solve": Step, "displace": Step, "second_pass": Step, "step": Descent}


@pytest.fixture
def parts():
    model = build(mlp)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.1)
    return model, opt, geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))


def distance(model, start):
    return torch.cat([(p - s).flatten() for p, s in zip(model.parameters(), start, strict=True)]).norm().item()


def test_the_acts_and_where_theta_is(parts, monkeypatch):
    model, opt, bound = parts
    start, seen = [p.detach().clone() for p in model.parameters()], []
    for act, who in ACTS.items():

        def recorded(self, *given, act=act, own=getattr(who, act)):
            seen.append((act, distance(model, start)))
            return own(self, *given)

        monkeypatch.setattr(who, act, recorded)
    Step(opt, bound, Groups(opt.param_groups)).run()
    assert [act for act, _ in seen] == list(ACTS)
    assert dict(seen) == pytest.approx({**dict.fromkeys(ACTS, 0.0), "second_pass": 0.1}, rel=1e-5)
    assert distance(model, start) > 0  # the update


@pytest.mark.parametrize("act", ACTS)
def test_what_an_act_raises_leaves_theta_as_it_was(parts, monkeypatch, act):
    model, opt, bound = parts
    start = [p.detach().clone() for p in model.parameters()]

    def fails(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(ACTS[act], act, fails)
    with pytest.raises(ZeroDivisionError):
        Step(opt, bound, Groups(opt.param_groups)).run()
    assert all(map(torch.equal, model.parameters(), start))


def test_a_step_holds_nothing_of_the_second_pass_when_it_is_over(parts):
    _, opt, bound = parts
    step = Step(opt, bound, Groups(opt.param_groups))
    step.sharpen()
    assert step.kept is None and step.landing is None
