"""Held statistics keep samples apart, and the judge refuses what it could not judge exactly."""

import pytest
import torch
from torch import nn

from experiments.frontier.held import held
from experiments.frontier.judge import Judge
from tests.networks import build, draw, labels


def net():
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))


def test_each_sample_comes_out_as_in_the_batch_whose_statistics_are_held():
    model, x = build(net), draw(40, 5)
    before = [b.clone() for b in model.buffers()]
    still = held(model, x)
    alone = torch.cat([still(row[None]) for row in x])
    batch = (x @ model[0].weight.T + model[0].bias).detach()
    z = (batch - batch.mean(0)) / (batch.var(0) + model[1].eps).sqrt() * model[1].weight + model[1].bias
    torch.testing.assert_close(alone, model[3](z.tanh()))
    assert model.training and all(map(torch.equal, before, model.buffers()))


def test_the_judge_needs_rows():
    batch = draw(8, 5), labels(8)
    with pytest.raises(ValueError, match="exact by rows in float64, and has conjugate gradients"):
        Judge.of(build(net), batch, 1e-8)
    assert Judge.of(held(build(net), batch[0]), batch, 1e-8).dual_norm > 0
