"""A CNN for images of 8 × 8: three convolutions with GroupNorm, whose samples do not meet, and a linear head."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from .initial import drawn_from


def digit_cnn(width: int, seed: int) -> nn.Sequential:
    """About 9000 parameters at width 12, drawn from the seed."""
    wide = 2 * width

    def block(i: int, inputs: int, outputs: int, stride: int) -> list[tuple[str, nn.Module]]:
        convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        return [(f"conv{i}", convolution), (f"norm{i}", nn.GroupNorm(4, outputs)), (f"relu{i}", nn.ReLU())]

    with drawn_from(seed):
        layers = [*block(1, 1, width, 1), *block(2, width, wide, 2), *block(3, wide, wide, 2)]
        return nn.Sequential(OrderedDict([*layers, ("flatten", nn.Flatten()), ("head", nn.Linear(4 * wide, 10))]))
