"""The search for the worst case stays in the ellipsoid."""

import pytest
import torch

from experiments.bound import worst as module
from experiments.bound.curvature import dense, fisher
from experiments.bound.losses import flat
from experiments.bound.run import features, trained
from experiments.bound.worst import worst
from tests.experiments.bound.smallest import MLP, TINY


def test_the_worst_case_is_at_least_the_loss_and_lies_in_the_ellipsoid():
    run, split = MLP[2], features(TINY)
    model = trained(run, split)
    G = dense(run.method.metric, model, split, fisher(model, flat(model), split.x))
    noise = torch.randn(5, len(G), generator=torch.Generator().manual_seed(0), dtype=G.dtype)
    seen = []

    def recorded(model, thetas, x, y, real=module.zero_one):
        seen.append(thetas - flat(model))
        return real(model, thetas, x, y)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "zero_one", recorded)
        found = worst(run.method.gamma, model, split, G, noise)
    (steps,) = seen
    lengths = torch.einsum("mi,ij,mj->m", steps, G, steps).sqrt()
    assert lengths.max().item() == pytest.approx(run.method.gamma, rel=1e-9)
    assert found >= (model(split.x).argmax(1) != split.y).double().mean().item()
