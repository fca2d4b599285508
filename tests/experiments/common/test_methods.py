"""Every row of the tables takes a step, on networks whose samples meet, too."""

import pytest
import torch
from torch import nn

from experiments.common.methods import CORE, MONGE, NOISE, PLAIN, SLOW, rows
from experiments.common.protocol import frozen
from experiments.networks.known import KNOWN, network

ROWS = rows((*CORE, MONGE, NOISE, PLAIN, *SLOW))


@pytest.mark.parametrize("name", [name for name, method in ROWS.items() if method.metric is not None])
def test_a_row_takes_a_step_where_batchnorm_couples_samples(name):
    torch.manual_seed(0)
    x, y = torch.randn(4, 3, 9, 9), torch.arange(4)
    model = network(KNOWN["fast_cnn_small"], (3, 9, 9), 10, 0)
    problem = frozen(model, nn.CrossEntropyLoss(label_smoothing=0.1))
    optimizer = ROWS[name].around(torch.optim.SGD(model.named_parameters(), 0.1), 0.05)
    before = model.head.weight.detach().clone()
    assert torch.isfinite(optimizer.step(problem.on(x, y))) and not torch.equal(before, model.head.weight)
