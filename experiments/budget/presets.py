"""The published radii at their size, and radii of equal KL at the first step, scaled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import geosam
from geosam.ablation import Rule

from ..classify.presets import cifar10 as table_1
from ..classify.presets import device as clean_device
from ..classify.presets import digits as clean_digits
from ..common.methods import ASAM, DIAGONAL, EQUAL, FSAM, FULL, KL, MONGE, PLAIN, SAM, rows
from ..common.protocol import Protocol
from .figures import draw
from .look import Spent

__all__ = ["PRESETS", "TITLE", "draw"]

TITLE = "KL spent over training"
ROWS = (EQUAL, SAM, ASAM, MONGE, FSAM, PLAIN, DIAGONAL, FULL, KL)
RULE = Rule(score="accuracy", against=SAM)


def cifar10() -> Protocol:
    """Table 1 of Fisher SAM with its radii, and what they spend."""
    return replace(table_1(), look=Spent(), rule=RULE)


def device() -> Protocol:
    """Minutes on a device: ResNet-20 on half of CIFAR-10."""
    whole = clean_device()
    return replace(whole, methods=rows(ROWS), match=geosam.KL(0.02), data=replace(whole.data, held_out=0.0), look=Spent())


def digits() -> Protocol:
    """Minutes on one core: 600 digits."""
    clean = clean_digits()
    data = replace(clean.data, train=600, held_out=0.0, batch=60)
    about = "the methods of section 5.1 of Fisher SAM, scaled; radii of equal KL after the warm-up"
    return replace(
        clean, source=about, data=data, methods=rows(ROWS), match=geosam.KL(0.02), epochs=12, look=Spent(), rule=RULE, seeds=5
    )


PRESETS: dict[str, Callable[[], Protocol]] = {"digits": digits, "device": device, "cifar10": cifar10}
