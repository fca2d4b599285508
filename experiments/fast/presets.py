"""The recipe at its size, and on 2,500 images for two cores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from geosam.ablation import Choice, Log, Rule, Tuned

from ..common.methods import ASAM, EQUAL, FULL, SAM, SGD, rows
from ..common.protocol import Protocol
from ..common.source import Source
from ..data.augment import Crop, Pipeline
from .recipe import Recipe
from .step import device_step

TITLE = "The fast recipe"
RATES = {"clean": 0.0, "noise-0.4": 0.4}
RECIPE = "github KellerJordan/cifar10-airbench at f1c599c, airbench94: network, schedule and augmentation from its description"
RULE = Rule(score="accuracy", against=SAM, margin=0.001)
TUNED = Tuned(trials=8, rho=Log(0.01, 2.0), lr=Choice((6.0, 9.0, 11.5, 14.0)))
ROWS = (SGD, EQUAL, SAM, ASAM, FULL)


def cifar10() -> Protocol:
    """All of CIFAR-10 in ten epochs of 1,024 images, bfloat16, for a device; every method tuned in eight runs."""
    return Protocol(
        source=RECIPE,
        data=Source("cifar10", batch=1024, held_out=0.1, pipeline=Pipeline((Crop(2, reflect=True),)), alternate=True),
        model="fast_cnn",
        methods=rows(ROWS),
        epochs=10,
        warmup=1,
        match=TUNED,
        optimizer=Recipe(1024),
        smoothing=0.2,
        half=True,
        seeds=20,
        rule=RULE,
        step=device_step,
    )


def small() -> Protocol:
    """The same code on 2,500 images in batches of 125, an eighth of the widths, four tuning runs a method on 625 others."""
    whole = cifar10()
    return replace(
        whole,
        data=replace(whole.data, batch=125, train=3125, test=2000, held_out=0.2),
        model="fast_cnn_small",
        match=replace(TUNED, trials=4),
        optimizer=Recipe(125),
        half=False,
        seeds=5,
    )


def tiny() -> Protocol:
    """Minutes on one core: 800 images, 200 others to tune on in three runs a method, one geometry beside SAM."""
    less = small()
    return replace(
        less,
        data=replace(less.data, batch=100, train=1000, test=1000),
        methods=rows(ROWS[:4]),
        match=replace(TUNED, trials=3),
        optimizer=Recipe(100),
        epochs=5,
        seeds=3,
    )


PRESETS: dict[str, Callable[[], Protocol]] = {"small": small, "tiny": tiny, "cifar10": cifar10}
