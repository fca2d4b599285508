"""Dense metrics against the library's own."""

import pytest
import torch

import geosam
from experiments.bound.curvature import dense, fisher
from experiments.bound.losses import LOSS, flat
from experiments.bound.run import features, network, trained
from geosam.metrics import Monge
from tests.experiments.bound.smallest import MLP, TINY


@pytest.fixture(scope="module")
def split():
    return features(TINY)


@pytest.mark.parametrize("run", MLP, ids=lambda run: run.method.name)
def test_the_dense_metric_is_that_of_the_library(run, split):
    model, metric = trained(run, split), run.method.metric
    F = fisher(model, flat(model), split.x)
    G = dense(metric, model, split, F)
    norm = metric.at(geosam.Problem(model, LOSS).on(split.x, split.y))
    v = torch.randn(len(F), generator=torch.Generator().manual_seed(0), dtype=F.dtype)
    parts = [p.view_as(q) for p, q in zip(v.split([q.numel() for q in model.parameters()]), model.parameters(), strict=True)]
    own = torch.cat([part.flatten() for part in norm.flat(parts)])
    assert torch.allclose(G @ v, own, rtol=1e-6, atol=1e-8 * own.abs().max().item())


def test_a_metric_without_a_dense_form_is_an_error(split):
    with pytest.raises(TypeError, match=r"no dense form of Monge.*add it to dense"):
        dense(Monge(), network(MLP[0]), split, torch.eye(3))
