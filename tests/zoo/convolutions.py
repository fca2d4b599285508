"""Convolutions of every kind, and what goes between them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tests.zoo.layers import N, Net, draw, labels
from tests.zoo.line import Line, Setting


def images(*layers: nn.Module, shape: tuple[int, ...] = (2, 4, 4), features: int = 2) -> Setting:
    """Classes of whole images: the mean over places before the head."""
    pool = nn.Flatten(2), Net(lambda s, x: x.square().mean(2)), nn.Linear(features, 3)
    return Setting(nn.Sequential(*layers, *pool), nn.CrossEntropyLoss(), draw(N, *shape), labels())


def pixels() -> Setting:
    net = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Tanh(), nn.Conv2d(2, 3, 1))
    y = labels(N, 2, 2)
    y[0, 0] = -100
    return Setting(net, nn.CrossEntropyLoss(), draw(N, 2, 2, 2), y)


def shuffled() -> Setting:
    return images(nn.Conv2d(2, 4, 1), nn.PixelShuffle(2), nn.Tanh(), nn.Conv2d(1, 2, 2, stride=2))


def unfolded() -> Setting:
    """A convolution by hand."""
    net = Net(
        lambda s, x: s.head(s.kernel(F.unfold(x, 2).transpose(1, 2)).tanh().mean(1)),
        kernel=nn.Linear(8, 2),
        head=nn.Linear(2, 3),
    )
    return Setting(net, nn.CrossEntropyLoss(), draw(N, 2, 3, 3), labels())


def separable() -> list[nn.Module]:
    return [nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(4, 2, 1)]


def across(*extra: Any) -> Setting:
    return images(*extra, nn.Conv2d(2, 2, 2), nn.AdaptiveAvgPool2d(2))


LINES = [
    Line("Conv1d, cross-entropy", lambda: images(nn.Conv1d(2, 2, 2), shape=(2, 4))),
    Line("Conv2d, cross-entropy", lambda: images(nn.Conv2d(2, 2, 2), nn.Tanh(), nn.Conv2d(2, 2, 2))),
    Line("Conv2d with stride and padding, cross-entropy", lambda: images(nn.Conv2d(2, 2, 3, stride=2, padding=1))),
    Line("Conv2d padded by 'same', cross-entropy", lambda: images(nn.Conv2d(2, 2, 3, padding="same"))),
    Line("Conv2d padded by 'same', even kernel, cross-entropy", lambda: images(nn.Conv2d(2, 2, 2, padding="same"))),
    Line("Conv2d padded by 'valid', cross-entropy", lambda: images(nn.Conv2d(2, 2, 3, padding="valid"))),
    Line("Conv2d padded in circles, cross-entropy", lambda: images(nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"))),
    Line("Conv2d padded by reflection, cross-entropy", lambda: images(nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"))),
    Line("Conv2d, dilated, cross-entropy", lambda: images(nn.Conv2d(2, 2, 2, dilation=2))),
    Line("Conv2d in groups, cross-entropy", lambda: images(nn.Conv2d(2, 2, 2, groups=2))),
    Line("depthwise and pointwise, cross-entropy", lambda: images(*separable())),
    Line("Conv2d without bias, cross-entropy", lambda: images(nn.Conv2d(2, 2, (1, 2), bias=False))),
    Line("Conv3d, cross-entropy", lambda: images(nn.Conv3d(1, 2, 2), shape=(1, 2, 3, 3))),
    Line("ConvTranspose1d, cross-entropy", lambda: images(nn.ConvTranspose1d(2, 2, 2, stride=2), shape=(2, 3))),
    Line(
        "ConvTranspose2d with output padding, cross-entropy",
        lambda: images(nn.ConvTranspose2d(2, 2, 2, stride=2, output_padding=1), shape=(2, 2, 2)),
    ),
    Line("ConvTranspose3d in groups, cross-entropy", lambda: images(nn.ConvTranspose3d(2, 2, 2, groups=2), shape=(2, 2, 2, 2))),
    Line("max pooling, cross-entropy", lambda: across(nn.MaxPool2d(2, 1))),
    Line("upsampling, cross-entropy", lambda: across(nn.Upsample(scale_factor=2, mode="bilinear"))),
    Line("pixel shuffle, cross-entropy", shuffled),
    Line("unfolded by hand, cross-entropy", unfolded),
    Line("channels last, cross-entropy", lambda: channels_last()),
    Line("pixels, token mean with ignore_index", pixels),
]


def channels_last() -> Setting:
    found = across()
    found.model, found.x = found.model.to(memory_format=torch.channels_last), found.x.to(memory_format=torch.channels_last)
    return found
