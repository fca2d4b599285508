"""Tables 2 and 3 of Fisher SAM as published, and scaled."""

from __future__ import annotations

from collections.abc import Callable

import geosam
from geosam.ablation import Choice, Log, Method, Rule, Sgd, Tuned

from ..common.methods import ASAM, CONTROL, CORE, FSAM, SAM, SGD, at, rows
from ..common.protocol import Protocol
from ..common.source import Source
from .score import by_rank

TITLE = "More training of trained networks"
HERE = "experiments.finetune.pretrained:"
PUBLISHED = (SGD, *CORE[1:5])
RULE = Rule(score="accuracy", against=SAM)


def _published(section: str, data: str, model: str, radii: dict[str, float], eta: float, epochs: int, sgd: Sgd) -> Protocol:
    control = {CONTROL: Method(geosam.metrics.Euclidean(), rho=radii[FSAM])}
    return Protocol(
        source=f"Kim et al. 2022 (Fisher SAM), section {section}; weights and data are the user's",
        data=Source(data, batch=256),
        model=HERE + model,
        methods=at(rows(PUBLISHED, eta, 0.01), radii) | control,
        epochs=epochs,
        optimizer=sgd,
        seeds=3,
        rule=RULE,
        score=by_rank,
    )


def imagenet() -> Protocol:
    """Table 2: DeiT-B, three more epochs on ImageNet. γ: SAM 0.05, ASAM 1 (η 0.01), FSAM 0.5 (η 0.1)."""
    sgd = Sgd(lr=1e-5, weight_decay=1e-4)
    return _published("5.2", "imagenet", "deit_b", {SAM: 0.05, ASAM: 1.0, FSAM: 0.5}, 0.1, 3, sgd)


def _transfer(data: str) -> Protocol:
    """Table 3: ViT-B/16, 200 epochs. γ: SAM 0.05, ASAM 0.1 (η 0.01), FSAM 0.1 (η 1)."""
    sgd = Sgd(lr=5e-4, weight_decay=0.05)
    return _published("5.3", data, "vit_b16", {SAM: 0.05, ASAM: 0.1, FSAM: 0.1}, 1.0, 200, sgd)


def cifar100() -> Protocol:
    """Its images enlarged to 224 × 224; the paper does not say how."""
    return _transfer("cifar100_224")


def cars() -> Protocol:
    """Stanford Cars."""
    return _transfer("cars")


def flowers() -> Protocol:
    """Oxford Flowers, 102 classes."""
    return _transfer("flowers")


def digits() -> Protocol:
    """Minutes on one core: a small ViT that knows the digits 0 to 4 learns all ten from 240, tuned on 60 others."""
    return Protocol(
        source="the settings of section 5.3 of Fisher SAM, scaled",
        data=Source("digits", batch=40, train=300, held_out=0.2),
        model=HERE + "digit_vit",
        methods=rows(CORE[:5]),
        epochs=8,
        match=Tuned(trials=3, rho=Log(0.01, 1.0), lr=Choice((0.02, 0.05, 0.1))),
        optimizer=Sgd(lr=0.05, weight_decay=1e-4),
        seeds=5,
        rule=RULE,
        score=by_rank,
    )


PRESETS: dict[str, Callable[[], Protocol]] = {
    "digits": digits,
    "imagenet": imagenet,
    "cifar100": cifar100,
    "cars": cars,
    "flowers": flowers,
}
