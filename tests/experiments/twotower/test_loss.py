"""The contrastive loss and retrieval, by loops."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from experiments.networks.two_tower import TwoTower
from experiments.twotower.loss import contrastive, retrieved
from tests.networks import build, draw

X = draw(6, 1, 8, 8)


def towers():
    return build(lambda: TwoTower(32, 8, 4))


def test_towers_meet_in_the_products_of_what_each_says_of_its_half():
    model = towers()
    z = model(X)
    for i in range(6):
        for j in range(6):
            u = F.normalize(model.upper(X[i : i + 1, :, :4]), dim=1)
            v = F.normalize(model.lower(X[j : j + 1, :, 4:]), dim=1)
            assert z[i, j].item() == pytest.approx(((u * v).sum() * model.log_scale.exp()).item(), abs=1e-5)


def test_the_loss_looks_both_ways():
    z = draw(5, 5, seed=3)
    rows = sum(z[i].logsumexp(0) - z[i, i] for i in range(5)) / 5
    columns = sum(z[:, i].logsumexp(0) - z[i, i] for i in range(5)) / 5
    assert contrastive(z, None).item() == pytest.approx(((rows + columns) / 2).item(), rel=1e-5)


def test_retrieval_counts_both_ways_in_parts_of_a_hundred():
    class Known(nn.Module):
        def forward(self, x):
            z = torch.eye(len(x))
            z[0, 1] = 2.0  # row 0 finds another, and column 1 finds row 0
            return z

    found = retrieved(Known(), contrastive, [(draw(230, 1), draw(230))])
    assert found["samples"] == 200 and found["accuracy"] == pytest.approx(0.99)
    assert retrieved(Known(), contrastive, [(draw(60, 1), draw(60))])["samples"] == 60
