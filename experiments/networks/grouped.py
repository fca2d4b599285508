"""GroupNorm in place of BatchNorm: samples do not meet."""

from __future__ import annotations

import math

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def grouped(model: nn.Module, groups: int = 8) -> nn.Module:
    """The model itself, with every BatchNorm of C channels replaced by GroupNorm of gcd(groups, C) groups."""
    for name, child in model.named_children():
        if isinstance(child, _BatchNorm):
            width = child.num_features
            setattr(model, name, nn.GroupNorm(math.gcd(groups, width), width, child.eps, affine=child.affine))
        else:
            grouped(child, groups)
    return model
