"""Table 4 of Fisher SAM as published, and scaled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import geosam
from geosam.ablation import Method, Rule, Sgd

from ..classify.presets import STANDARD
from ..classify.presets import device as clean_device
from ..classify.presets import digits as clean_digits
from ..common.methods import ASAM, CONTROL, CORE, FSAM, MONGE, NOISE, SAM, at, rows
from ..common.protocol import Protocol
from ..common.source import Source

TITLE = "Accuracy with wrong labels"
RATES = {f"noise-{rate}": rate for rate in (0.2, 0.4, 0.6, 0.8)}
ROWS = (*CORE, MONGE, NOISE)
RULE = Rule(score="accuracy", against=SAM)


def cifar10() -> Protocol:
    """ResNet-32. γ: SAM 0.1, ASAM 0.5 (η 0.01), FSAM 0.1 (η 0.001): SAM and FSAM have the same.

    What section 5.5 does not say is as in section 5.1, without AutoAugment, Cutout and label smoothing.
    """
    radii = {SAM: 0.1, ASAM: 0.5, FSAM: 0.1}
    control = {CONTROL: Method(geosam.metrics.Euclidean(), rho=radii[FSAM])}
    return Protocol(
        source="Kim et al. 2022 (Fisher SAM), section 5.5; schedule of section 5.1, crop and flip after Foret et al. 2021",
        data=Source("cifar10", batch=128, pipeline=STANDARD),
        model="resnet32",
        methods=at(rows(ROWS, eta=1e-3, asam_eta=0.01), radii) | control,
        epochs=200,
        match=geosam.Length(0.1),
        optimizer=Sgd(lr=0.1, momentum=0.9, weight_decay=5e-4),
        seeds=3,
        rule=RULE,
    )


def device() -> Protocol:
    """Minutes on a device, as ``classify`` has them; η of table 4."""
    return replace(clean_device(), methods=rows(ROWS, eta=1e-3), smoothing=0.0, source=SCALED)


def digits() -> Protocol:
    """Minutes on one core, as ``classify`` has them, with more images; η of table 4."""
    clean = clean_digits()
    data, match = replace(clean.data, train=600, batch=75), replace(clean.match, trials=3)
    return replace(clean, data=data, methods=rows(ROWS, eta=1e-3), match=match, epochs=10, seeds=4, source=SCALED)


SCALED = "the settings of section 5.5 of Fisher SAM, scaled; tuned at every rate, on held-out samples with noisy labels"
PRESETS: dict[str, Callable[[], Protocol]] = {"digits": digits, "device": device, "cifar10": cifar10}
