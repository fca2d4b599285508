"""Multilayer perceptrons of any widths."""

from __future__ import annotations

import itertools

from torch import nn


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between."""
    layers: list[nn.Module] = []
    for wide_in, wide in itertools.pairwise(widths):
        layers += [nn.Linear(wide_in, wide), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
