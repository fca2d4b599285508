"""A network whose samples do not meet: BatchNorm with the statistics of one batch, held constant."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def held(model: nn.Module, x: Tensor) -> nn.Module:
    """A copy in evaluation mode, with the mean and the unbiased variance of these inputs in place of running averages."""
    model = copy.deepcopy(model)
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    if norms:
        for norm in norms:
            norm.momentum = 1.0
        model.train()(x)
    return model.eval()
