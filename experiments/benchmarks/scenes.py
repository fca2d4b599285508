"""The networks that an accelerator is given, each with its batch and precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

import geosam
from geosam.problem import Bound

from ..networks.autocast import Autocast
from ..networks.mlp import mlp
from ..networks.resnet import resnet20
from ..networks.vision_transformer import vision_transformer
from ..networks.wide_resnet import wide_resnet
from .step import Training


@dataclass(frozen=True)
class Scene:
    """A network and the shape of a batch. bf16: under autocast. frozen: the Fishers hold the batch's statistics still."""

    name: str
    model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    classes: int
    bf16: bool = False
    channels_last: bool = False
    frozen: bool = False

    def training(self, device: torch.device) -> Training:
        """Always the same numbers, in storages of its own."""
        torch.manual_seed(0)
        with device:
            model, x, y = self.model(), torch.randn(self.shape), torch.randint(self.classes, self.shape[:1])
        model = Autocast(model, device.type) if self.bf16 else model
        if self.channels_last:
            model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
        return Training(model, x, y)

    def bind(self, device: torch.device) -> tuple[nn.Module, Bound]:
        """The same as a problem."""
        training = self.training(device)
        problem = geosam.Problem(training.model, nn.CrossEntropyLoss(), frozen_statistics=self.frozen)
        return training.model, problem.on(training.x, training.y)


RESNET = Scene("ResNet-20, b 128, float32", resnet20, (128, 3, 32, 32), 10)
RESNET_BF16 = Scene("ResNet-20, b 128, bf16", resnet20, (128, 3, 32, 32), 10, bf16=True, channels_last=True)
WIDE = Scene("WRN-28-10, b 128, bf16", wide_resnet, (128, 3, 32, 32), 10, bf16=True, channels_last=True, frozen=True)
MLP = Scene("MLP 10 M, b 16, float32", lambda: mlp(784, 2048, 2048, 2048, 10), (16, 784), 10)
VIT = Scene("ViT-S/16, b 64, bf16", lambda: vision_transformer(224, 16, 384, 12, 6, 1000), (64, 3, 224, 224), 1000, bf16=True)
STEPS = {RESNET_BF16: 1.5, WIDE: 2.5, MLP: 0.8, VIT: 4.0, RESNET: 1.2}
"""Scene → its share of the seconds."""

FISHERS = (WIDE, VIT)

TINY_WIDE = Scene("WRN-10-1, bf16", lambda: wide_resnet(10, 1), (4, 3, 8, 8), 10, bf16=True, channels_last=True, frozen=True)
TINY_VIT = Scene("ViT of width 16, bf16", lambda: vision_transformer(8, 4, 16, 1, 2, 10), (4, 3, 8, 8), 10, bf16=True)
TINY_MLP = Scene("MLP 8-16-10, float32", lambda: mlp(8, 16, 10), (4, 8), 10)
TINY = {TINY_MLP: 1.0, TINY_WIDE: 1.0, TINY_VIT: 1.0}

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "60 tensors of 10 M in all": [(408, 409)] * 60,
    "one tensor of 100 M": [(10_000, 10_000)],
}


def move_shapes(quick: bool) -> dict[str, list[tuple[int, ...]]]:
    """Lists of tensors to perturb and restore: a network's, many equal ones, one large one."""
    if quick:
        return {"WRN-10-1": [tuple(p.shape) for p in wide_resnet(10, 1).parameters()], "one tensor": [(100, 100)]}
    with torch.device("meta"):
        wide = [tuple(p.shape) for p in wide_resnet().parameters()]
    return {"WRN-28-10, 36.5 M": wide, **SHAPES}
