"""Evidence that is kept is of θ, of the batch and of the model as they were, or says that they are gone."""

import pytest
import torch
from torch import nn

import geosam
from geosam.metrics import EmpiricalFisher, Exact, Fisher, KLExact, MonteCarlo
from geosam.observation import PredictiveDistribution
from tests.fishers import flat
from tests.networks import batch_norm_net, build, draw, labels, mlp, network

METRICS = [EmpiricalFisher(0.1), Fisher(0.1, Exact()), Fisher(0.1, rows_limit=0), Fisher(0.1, MonteCarlo(2))]


def taken(metric, model, x, y, chosen=None):
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
    return geosam.observe((bound if chosen is None else bound.wrt(chosen)), metric.needs)


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_a_batch_that_is_overwritten_is_missed(metric):
    model, x = build(mlp), draw(6, 4)
    seen = taken(metric, model, x, labels(6))
    x.copy_(draw(6, 4, seed=5))
    with pytest.raises(RuntimeError, match="overwritten"):
        flat(metric.at(seen).sharp(seen.gradient))


OTHERS = zip(["residual, GroupNorm", "transformer", "raw parameter", "raw parameter"], METRICS, strict=True)


@pytest.mark.parametrize("name, metric", [*(("mlp", metric) for metric in METRICS), *OTHERS], ids=repr)
def test_training_on_changes_nothing(metric, name):
    model, x, y = network(name, dtype=torch.float64)

    def seeded():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return taken(metric, model, x, y)

    now, later = seeded(), seeded()
    want = flat(metric.at(now).sharp(now.gradient))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.ones_like(p))
    found = flat(metric.at(later).sharp(later.gradient))
    torch.testing.assert_close(found, want, rtol=1e-6, atol=1e-9)


def test_the_others_stay_where_they_were_too():
    model = build(mlp, dtype=torch.float64)
    x, y = draw(6, 4, dtype=torch.float64), labels(6)
    seen = taken(KLExact(), model, x, y, list(model.parameters())[:2])
    with torch.no_grad():
        list(model.parameters())[-1].add_(torch.arange(3.0))
    still = seen[PredictiveDistribution()].kl([torch.zeros_like(p) for p in seen.parameters])
    assert still.item() == pytest.approx(0.0, abs=1e-12)


def test_another_mode_is_another_model():
    model = build(batch_norm_net).eval()
    metric = Fisher(0.1, rows_limit=0)
    seen = taken(metric, model, draw(6, 4), labels(6))
    model.train()
    with pytest.raises(RuntimeError, match="mode"):
        metric.at(seen).sharp(seen.gradient)
