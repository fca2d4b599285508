"""Networks by name, for the inputs and classes of any data set. Those of other libraries are imported when asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType

import torch
from torch import nn

from .digit_cnn import digit_cnn
from .digit_mlp import digit_mlp
from .fast_cnn import fast_cnn
from .grouped import grouped
from .initial import drawn_from
from .resnet import resnet
from .small_transformer import small_transformer
from .two_tower import TwoTower
from .vision_transformer import VisionTransformer
from .wide_resnet import wide_resnet

Shape = tuple[int, ...]
Build = Callable[[Shape, int], nn.Module]
"""(shape of one input, number of classes) ↦ a model; the random state that it draws from is set around it."""

NORMS = ("batch", "group")


def network(build: Build, shape: Shape, classes: int, seed: int, norm: str = "batch") -> nn.Module:
    """The model with the values that the seed draws. norm: "group" puts GroupNorm where the network has BatchNorm."""
    if norm not in NORMS:
        raise ValueError(f"norm is one of {', '.join(NORMS)}; got {norm!r}")
    with drawn_from(seed):
        model = build(shape, classes)
        return grouped(model) if norm == "group" else model


def _resnet(depth: int, width: int, shape: Shape, classes: int) -> nn.Module:
    return resnet(depth, width, classes, shape[0])


def _wide(widen: int, shape: Shape, classes: int) -> nn.Module:
    return wide_resnet(28, widen, classes, shape[0])


def _digits(build: Callable[[int, int], nn.Module], shape: Shape, classes: int) -> nn.Module:
    if shape != (1, 8, 8) or classes != 10:
        raise ValueError(f"{build.__name__} is for the digits, (1, 8, 8) and ten classes; got {shape} and {classes}")
    return build(12, torch.initial_seed())  # that of ``network``


def _transformer(shape: Shape, classes: int) -> nn.Module:
    return small_transformer(shape[0], classes)


def _vit(width: int, depth: int, shape: Shape, classes: int) -> nn.Module:
    return VisionTransformer(shape[0], shape[1], classes, width, depth)


def _two_tower(shape: Shape, classes: int) -> nn.Module:
    """For images of even height; classes are not used."""
    return TwoTower(shape[0] * (shape[1] // 2) * shape[2])


def _vgg19_bn(shape: Shape, classes: int) -> nn.Module:
    """torchvision's layers and one linear layer: its three of 4096 units are for images of 224×224."""
    model = library("torchvision.models").vgg19_bn(num_classes=classes)
    model.features[0] = _stem(shape[0], 64, bias=True)
    model.avgpool, model.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, classes)
    return model


def _resnet34(shape: Shape, classes: int) -> nn.Module:
    """torchvision's; the stem is a 3×3 convolution without pooling, as is usual for images of 32×32."""
    model = library("torchvision.models").resnet34(num_classes=classes)
    model.conv1, model.maxpool = _stem(shape[0], 64), nn.Identity()
    return model


def _densenet121(shape: Shape, classes: int) -> nn.Module:
    """torchvision's, with the same change of the stem; the paper does not say which it took."""
    model = library("torchvision.models").densenet121(num_classes=classes)
    model.features.conv0, model.features.pool0 = _stem(shape[0], 64), nn.Identity()
    return model


def _stem(channels: int, width: int, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 3, 1, 1, bias=bias)


def _resnext29(shape: Shape, classes: int) -> nn.Module:
    build = library("pytorchcv.models.resnext_cifar").resnext29_32x4d_cifar10
    return build(num_classes=classes, in_channels=shape[0], in_size=shape[1:])


def _pyramidnet272(shape: Shape, classes: int) -> nn.Module:
    build = library("pytorchcv.models.pyramidnet_cifar").pyramidnet272_a200_bn_cifar10
    return build(num_classes=classes, in_channels=shape[0], in_size=shape[1:])


def _timm(name: str, shape: Shape, classes: int) -> nn.Module:
    """Patches of 16×16 for images of 224×224, of 4×4 for smaller ones. Weights are drawn: what is trained must be loaded."""
    patch = 16 if shape[1] >= 224 else 4
    return library("timm").create_model(
        name, pretrained=False, img_size=shape[1], patch_size=patch, in_chans=shape[0], num_classes=classes
    )


def library(name: str) -> ModuleType:
    """A module of another library. Raises: ImportError that says how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        top = name.partition(".")[0]
        raise ImportError(
            f"this network comes from {top}, which cannot be imported ({error}): pip install {top}, or geosam[networks]"
        ) from error


KNOWN: dict[str, Build] = {
    "digit_cnn": partial(_digits, digit_cnn),
    "digit_mlp": partial(_digits, digit_mlp),
    "resnet20": partial(_resnet, 20, 16),
    "resnet32": partial(_resnet, 32, 16),
    "resnet56": partial(_resnet, 56, 16),
    "resnet20_narrow": partial(_resnet, 20, 4),
    "wrn28_2": partial(_wide, 2),
    "wrn28_10": partial(_wide, 10),
    "resnext29": _resnext29,
    "pyramidnet272": _pyramidnet272,
    "densenet121": _densenet121,
    "two_tower": _two_tower,
    "vgg19_bn": _vgg19_bn,
    "resnet34": _resnet34,
    "vit_b": partial(_timm, "vit_base_patch16_224"),
    "deit_b": partial(_timm, "deit_base_patch16_224"),
    "vit_small": partial(_vit, 128, 3),
    "vit_tiny": partial(_vit, 32, 2),
    "fast_cnn": fast_cnn,
    "fast_cnn_small": partial(fast_cnn, widths=(8, 32, 32)),
    "transformer": _transformer,
}
