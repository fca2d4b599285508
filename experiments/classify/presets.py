"""Table 1 of Fisher SAM as published, and scaled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import geosam
from geosam.ablation import Choice, Log, Method, Rule, Sgd, Tuned

from ..common.methods import ASAM, CONTROL, CORE, FSAM, MONGE, NOISE, PLAIN, SAM, SLOW, at, rows
from ..common.protocol import Protocol
from ..common.source import Source
from ..data.augment import Auto, Crop, Cutout, Flip, Pipeline

TITLE = "Accuracy by geometry"
PAPER = "Kim et al. 2022 (Fisher SAM), section 5.1"
STANDARD = Pipeline((Crop(4), Flip()))
FULL = Pipeline((Crop(4), Flip(), Auto()), (Cutout(16),))
RULE = Rule(score="accuracy", against=SAM)
CLASSIFIED = (*CORE, MONGE, NOISE, PLAIN)


def published(data: str, radii: dict[str, float], asam_eta: float, eta: float = 1.0) -> Protocol:
    """Table 1, with ResNet-20 unless ``--model`` says otherwise. Radii are the paper's, which searched for Fisher SAM's only.

    Its "SGD" has twice the epochs: here "SGD, equal compute". Crop and flip are those of Foret et al. 2021, which it follows.
    Geometries that it does not have get the Euclidean length 0.1 at the start.
    """
    control = {CONTROL: Method(geosam.metrics.Euclidean(), rho=radii[FSAM])}
    return Protocol(
        source=f"{PAPER}, {data}; crop and flip after Foret et al. 2021",
        data=Source(data, batch=128, pipeline=FULL),
        model="resnet20",
        methods=at(rows(CLASSIFIED, eta, asam_eta), radii) | control,
        epochs=200,
        match=geosam.Length(0.1),
        optimizer=Sgd(lr=0.1, momentum=0.9, weight_decay=5e-4),
        smoothing=0.1,
        seeds=3,
        rule=RULE,
    )


def pyramidnet(data: str, radii: dict[str, float], asam_eta: float, eta: float) -> Protocol:
    """Its own schedule: batches of 256, rate 0.05, 900 epochs."""
    base = published(data, radii, asam_eta, eta)
    optimizer = replace(base.optimizer, lr=0.05)
    return replace(base, model="pyramidnet272", data=replace(base.data, batch=256), epochs=900, optimizer=optimizer)


def cifar10() -> Protocol:
    """γ: SAM 0.05, ASAM 0.5 (η 0.01), FSAM 0.1 (η 1)."""
    return published("cifar10", {SAM: 0.05, ASAM: 0.5, FSAM: 0.1}, asam_eta=0.01)


def cifar100() -> Protocol:
    """γ: SAM 0.1, ASAM 1 (η 0.1), FSAM 0.1 (η 1): SAM and FSAM have the same."""
    return published("cifar100", {SAM: 0.1, ASAM: 1.0, FSAM: 0.1}, asam_eta=0.1)


def pyramidnet_cifar10() -> Protocol:
    """γ: SAM 0.05, ASAM 1; of FSAM the text does not say, and (0.1, 1) is that of all other networks."""
    return pyramidnet("cifar10", {SAM: 0.05, ASAM: 1.0, FSAM: 0.1}, asam_eta=0.01, eta=1.0)


def pyramidnet_cifar100() -> Protocol:
    """γ: SAM 0.05, ASAM 1, FSAM 0.5 (η 0.1)."""
    return pyramidnet("cifar100", {SAM: 0.05, ASAM: 1.0, FSAM: 0.5}, asam_eta=0.1, eta=0.1)


def device() -> Protocol:
    """Minutes on a device: ResNet-20 on half of CIFAR-10, all rows, every method tuned in six runs."""
    return Protocol(
        source="the settings of section 5.1 of Fisher SAM, scaled",
        data=Source("cifar10", batch=256, train=25_000, held_out=0.1, pipeline=STANDARD),
        model="resnet20",
        methods=rows((*CLASSIFIED, *SLOW)),
        epochs=20,
        match=Tuned(trials=6, rho=Log(0.01, 2.0), lr=Choice((0.05, 0.1, 0.2))),
        optimizer=Sgd(lr=0.1, weight_decay=5e-4),
        warmup=1,
        smoothing=0.1,
        seeds=5,
        rule=RULE,
    )


def digits() -> Protocol:
    """Minutes on one core: a CNN of 9 thousand parameters on 300 of scikit-learn's digits, tuned on 100 others."""
    return Protocol(
        source="the settings of section 5.1 of Fisher SAM, scaled",
        data=Source("digits", batch=50, train=400, held_out=0.25),
        model="digit_cnn",
        methods=rows(CLASSIFIED),
        epochs=16,
        match=Tuned(trials=4, rho=Log(0.01, 2.0), lr=Choice((0.03, 0.1, 0.2))),
        optimizer=Sgd(lr=0.1, weight_decay=5e-4),
        warmup=2,
        seeds=6,
        rule=RULE,
    )


PRESETS: dict[str, Callable[[], Protocol]] = {
    "digits": digits,
    "device": device,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "pyramidnet-cifar10": pyramidnet_cifar10,
    "pyramidnet-cifar100": pyramidnet_cifar100,
}
