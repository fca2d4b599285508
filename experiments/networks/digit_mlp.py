"""A perceptron with two hidden layers for images of 8 × 8."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from .initial import drawn_from


def digit_mlp(width: int, seed: int) -> nn.Sequential:
    """Layers of 4 · width units, drawn from the seed; about 6000 parameters at width 12."""
    hidden = 4 * width
    with drawn_from(seed):
        layers: list[tuple[str, nn.Module]] = [
            ("flatten", nn.Flatten()),
            ("hidden1", nn.Linear(64, hidden)),
            ("relu1", nn.ReLU()),
            ("hidden2", nn.Linear(hidden, hidden)),
            ("relu2", nn.ReLU()),
            ("head", nn.Linear(hidden, 10)),
        ]
        return nn.Sequential(OrderedDict(layers))
