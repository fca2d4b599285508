"""Models that give a dict, a dataclass or a tuple, with a likelihood that reads it: as the same model that gives one tensor."""

import functools
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

import geosam
from geosam.core import vectors as vec
from geosam.metrics import DiagonalFisher, Euclidean, Fisher, KLExact
from geosam.observation import PredictiveDistribution
from tests.fishers import closeness, flat
from tests.networks import build, draw, labels, mlp

FLOAT64 = torch.float64
X = draw(6, 4, dtype=FLOAT64)


@dataclass
class Spread:
    mean: Tensor
    log_scale: Tensor
    loss: Tensor | None = None


Pair = namedtuple("Pair", ["mean", "log_scale"])


class Wrapped(nn.Module):
    def __init__(self, form) -> None:
        super().__init__()
        self.net, self.form = mlp(), form

    def forward(self, x: Tensor):
        z = self.net(x)
        return self.form(z[:, :2], z[:, 2:])


FORMS = {
    "dict": (lambda m, s: {"loss": m.mean(), "mean": m, "log_scale": s, "note": "text"}, lambda o: (o["mean"], o["log_scale"])),
    "dataclass": (lambda m, s: Spread(m, s, m.square().mean()), lambda o: (o.mean, o.log_scale)),
    "namedtuple": (Pair, lambda o: (o.mean, o.log_scale)),
    "nested": (lambda m, s: [{"a": m}, (s, None)], lambda o: (o[0]["a"], o[1][0])),
    "tensor": (lambda m, s: torch.cat([m, s], 1), lambda o: (o[:, :2], o[:, 2:])),
}


def bind(name):
    form, parts = FORMS[name]

    def likelihood(outputs) -> Independent:
        mean, log_scale = parts(outputs)
        return Independent(Normal(mean, log_scale.exp().expand_as(mean)), 1)

    def loss(outputs, y):
        return -likelihood(outputs).log_prob(y).mean()

    return geosam.Problem(build(lambda: Wrapped(form), dtype=FLOAT64), loss, likelihood).on(
        X, draw(6, 2, seed=3, dtype=FLOAT64)
    )


@functools.cache
def right_answers():
    """Of one tensor: KL of a tenth of v, Fv, the mean diagonal and ‖v‖."""
    right = geosam.observe(bind("tensor"), (PredictiveDistribution(),))[PredictiveDistribution()]
    v = [draw(*p.shape, seed=4, dtype=FLOAT64) for p in right.parameters]
    norm = Fisher(0.1, rows_limit=0).at(bind("tensor")).norm(v)
    return v, right.kl(vec.scale(v, 0.1)), flat(right.fisher(v)), right.mean_diagonal(), norm


@pytest.mark.parametrize("name", [name for name in FORMS if name != "tensor"])
def test_kl_and_fisher_are_those_of_one_tensor(name):
    v, kl, product, diagonal, norm = right_answers()
    found = geosam.observe(bind(name), (PredictiveDistribution(),))[PredictiveDistribution()]
    torch.testing.assert_close(found.kl(vec.scale(v, 0.1)), kl, rtol=1e-12, atol=0)
    assert closeness(flat(found.fisher(v)), product) < 1e-12
    torch.testing.assert_close(found.mean_diagonal(), diagonal)
    torch.testing.assert_close(Fisher(0.1, rows_limit=1024).at(bind(name)).norm(v), norm)


@pytest.mark.parametrize("name", ["dict", "dataclass"])
def test_a_step_in_kl_reaches_its_budget(name):
    bound = bind(name)
    optimizer = geosam.SAM(torch.optim.SGD(bound.model.parameters(), lr=0.1), KLExact(along=Euclidean()), rho=0.1)
    optimizer.step(bound)
    assert optimizer.last.radius.item() == pytest.approx(0.1, rel=0.02)


def test_what_is_no_batch_is_refused():
    likelihood = lambda o: Normal(o["mean"].mean(0), 1.0)  # noqa: E731
    bound = geosam.Problem(build(lambda: Wrapped(FORMS["dict"][0]), dtype=FLOAT64), lambda o, y: o["loss"], likelihood)
    assert geosam.observe(bound.on(X, labels(6)), (PredictiveDistribution(),))
    scalar = geosam.Problem(bound.model, lambda o, y: o["loss"], lambda o: Normal(o["loss"], 1.0))
    for problem, metric in ((scalar, Fisher()), (bound, DiagonalFisher())):
        with pytest.raises((TypeError, ValueError), match=r"one tensor|per-sample"):
            metric.at(problem.on(X, labels(6)))
