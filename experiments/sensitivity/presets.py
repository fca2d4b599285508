"""Figure 5 of Fisher SAM as published, and scaled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from geosam.ablation import Method, Rule
from geosam.metrics import Euclidean, GradientMagnitude

from ..classify.presets import cifar100 as table_1
from ..classify.presets import device as clean_device
from ..classify.presets import digits as clean_digits
from ..common.protocol import Protocol
from ..data.augment import Pipeline
from .figures import draw
from .look import Angle

__all__ = ["PRESETS", "TITLE", "draw"]

TITLE = "Fisher SAM over γ and η"
GAMMAS = (0.01, 0.05, 0.1, 0.5, 1.0)
ETAS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


def cell(gamma: float, eta: float) -> str:
    """The name of a method."""
    return f"γ {gamma:g}, η {eta:g}"


def sam(gamma: float) -> str:
    """Its column without Fisher."""
    return f"γ {gamma:g}, SAM"


REFERENCE = cell(0.1, 1.0)
RULE = Rule(score="accuracy", against=REFERENCE)


def grid(gammas: tuple[float, ...] = GAMMAS, etas: tuple[float, ...] = ETAS) -> dict[str, Method]:
    """G = 1 + ηg² at radius γ, and SAM at the same γ."""
    fisher = {cell(g, eta): Method(GradientMagnitude(eta, damping=1.0), rho=g) for g in gammas for eta in etas}
    return {**fisher, **{sam(g): Method(Euclidean(), rho=g) for g in gammas}}


def cifar100() -> Protocol:
    """WRN-28-10 without augmentation, as footnote 5 suggests; what section 5.6 does not say is as in section 5.1."""
    whole = table_1()
    about = "Kim et al. 2022 (Fisher SAM), section 5.6; schedule of section 5.1, without augmentation"
    data = replace(whole.data, pipeline=Pipeline())
    return replace(whole, source=about, data=data, model="wrn28_10", methods=grid(), look=Angle(), rule=RULE)


def device() -> Protocol:
    """Minutes on a device: ResNet-20 on half of CIFAR-10, without augmentation."""
    whole = clean_device()
    data = replace(whole.data, held_out=0.0, pipeline=Pipeline())
    return replace(whole, source=SCALED, data=data, methods=grid(), match=0.1, look=Angle(), rule=RULE, epochs=10, seeds=3)


def digits() -> Protocol:
    """Minutes on one core: 400 digits, of which 1,197 are there."""
    clean = clean_digits()
    data = replace(clean.data, held_out=0.0)
    return replace(clean, source=SCALED, data=data, methods=grid(), match=0.1, look=Angle(), rule=RULE, epochs=8, seeds=2)


SCALED = "section 5.6 of Fisher SAM, scaled; the grid as published"
PRESETS: dict[str, Callable[[], Protocol]] = {"digits": digits, "device": device, "cifar100": cifar100}
