"""Figure 4 of Fisher SAM as published, and scaled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from geosam.ablation import Rule

from ..classify.presets import cifar10 as table_1
from ..classify.presets import device as clean_device
from ..classify.presets import digits as clean_digits
from ..common.methods import ASAM, CONTROL, CORE, FSAM, SAM
from ..common.protocol import Protocol
from .figures import draw
from .score import Moved

__all__ = ["PRESETS", "TITLE", "draw"]

TITLE = "Weights moved by α"
RULE = Rule(score="adversarial, Euclidean, area", against=SAM)
GAMMAS = {SAM: 0.05, ASAM: 0.5, FSAM: 0.1}


def moved(protocol: Protocol, **changes: object) -> Protocol:
    """The methods of section 5.4 with its radii, their control, and what the others of the table add."""
    names = [*CORE, CONTROL]
    methods = {name: method for name, method in protocol.methods.items() if name in names}
    data = replace(protocol.data, held_out=0.0)
    return replace(protocol, data=data, methods=methods, score=Moved, rule=RULE, **changes)  # type: ignore[arg-type]


def cifar10() -> Protocol:
    """ResNet-34 with the radii of section 5.1; α from 0.1 to 5."""
    about = "Kim et al. 2022 (Fisher SAM), section 5.4; training of section 5.1"
    return moved(table_1(), source=about, model="resnet34")


def _published(protocol: Protocol) -> Protocol:
    return replace(protocol, methods=table_1().methods, match=table_1().match)


def device() -> Protocol:
    """Minutes on a device: ResNet-20 on half of CIFAR-10, the published radii."""
    return moved(_published(clean_device()), source=SCALED)


def digits() -> Protocol:
    """Minutes on one core: 400 digits, the published radii."""
    return moved(_published(clean_digits()), source=SCALED, epochs=10, seeds=4)


SCALED = "section 5.4 of Fisher SAM, scaled; its radii"
PRESETS: dict[str, Callable[[], Protocol]] = {"digits": digits, "device": device, "cifar10": cifar10}
