"""Both diagonals under one rule of damping, at radii of equal KL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import geosam
from geosam.ablation import Method, Rule

from ..budget.presets import digits as budget_digits
from ..classify.presets import cifar10 as table_1
from ..classify.presets import device as clean_device
from ..common.methods import DIAGONAL, EQUAL, FSAM, SAM, rows
from ..common.protocol import Protocol
from ..frontier.magnitude import RelativeMagnitude
from .figures import draw
from .look import Apart

__all__ = ["PRESETS", "TITLE", "draw"]

TITLE = "The squared batch gradient for the per-sample diagonal"
MAGNITUDE = "squared batch gradient"
LOOK = Apart()
RULE = Rule(score="accuracy", against=DIAGONAL, margin=0.005)


def both(protocol: Protocol, **changes: object) -> Protocol:
    """The two, SGD, SAM and Fisher SAM as published beside them."""
    methods = {**rows((EQUAL, SAM, FSAM, DIAGONAL)), MAGNITUDE: Method(RelativeMagnitude(LOOK.damping))}
    data = replace(protocol.data, held_out=0.0)
    return replace(protocol, data=data, methods=methods, match=geosam.KL(0.02), look=LOOK, rule=RULE, **changes)  # type: ignore[arg-type]


def cifar10() -> Protocol:
    """ResNet-20, 200 epochs. The paper has no such table; radii are calibrated after the first epoch."""
    return both(table_1(), source="section 3 of Fisher SAM; schedule of section 5.1", warmup=1)


def device() -> Protocol:
    """Minutes on a device: ResNet-20 on half of CIFAR-10."""
    return both(clean_device(), source="section 3 of Fisher SAM, scaled")


def digits() -> Protocol:
    """Minutes on one core: 600 digits."""
    return both(budget_digits(), source="section 3 of Fisher SAM, scaled", epochs=8, seeds=5)


PRESETS: dict[str, Callable[[], Protocol]] = {"digits": digits, "device": device, "cifar10": cifar10}
