"""Networks with values that they were trained to: the small one by us, the others' by whoever has the weights."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..data.folder import folder, missing
from ..data.known import digits_task
from ..networks.initial import drawn_from
from ..networks.known import Shape, library
from ..networks.vision_transformer import VisionTransformer

BEFORE, EPOCHS, BATCH, RATE = 5, 15, 50, 3e-3


def digit_vit(shape: Shape, classes: int) -> nn.Module:
    """A ViT of 27 thousand parameters, trained on the digits 0 to 4; its head is new, drawn as the random state is."""
    model = _vit(shape, classes)
    model.load_state_dict({**model.state_dict(), **_trained()})
    return model


def _vit(shape: Shape, classes: int) -> VisionTransformer:
    return VisionTransformer(shape[0], shape[1], classes, width=32, depth=2)


@cache
def _trained() -> dict[str, Any]:
    """All but the head, after 15 epochs of Adam on the training images of five classes; once a process."""
    task = digits_task()
    chosen = task.split.y < BEFORE
    x, y = task.standardise(task.split.x[chosen]), task.split.y[chosen]
    with drawn_from(0):
        model = _vit(task.shape, BEFORE)
        optimizer = torch.optim.Adam(model.parameters(), RATE)
        for _ in range(EPOCHS):
            for at in torch.randperm(len(y)).split(BATCH):
                optimizer.zero_grad()
                F.cross_entropy(model(x[at]), y[at]).backward()
                optimizer.step()
    return {name: value for name, value in model.state_dict().items() if not name.startswith("head.")}


def vit_b16(shape: Shape, classes: int) -> nn.Module:
    """ViT-B/16 of timm with the user's weights (ImageNet), and a new head."""
    return _timm("vit_base_patch16_224", "vit_b16", classes, new_head=True)


def deit_b(shape: Shape, classes: int) -> nn.Module:
    """DeiT-B of timm with the user's weights, head included."""
    return _timm("deit_base_patch16_224", "deit_b", classes, new_head=False)


def _timm(name: str, file: str, classes: int, new_head: bool) -> nn.Module:
    """For images of 224 × 224. Raises: ImportError without timm, FileNotFoundError without weights; both say what to do."""
    model = library("timm").create_model(name, pretrained=False, num_classes=1000)
    path = folder() / "weights" / f"{file}.pt"
    if not path.exists():
        load = f"torch.save(timm.create_model({name!r}, pretrained=True).state_dict(), {str(path)!r})"
        get, what = f'python -c "import timm, torch; {load}"', f"a state_dict of timm's {name} for 1000 classes"
        raise missing(f"weights/{file}.pt", get, f"weights/{file}.pt, {what},")
    model.load_state_dict(torch.load(path, weights_only=True))
    if new_head:
        model.reset_classifier(classes)
    elif classes != 1000:
        raise ValueError(f"{name} keeps its head of 1000 classes, and the data have {classes}")
    return model
