"""Rows with and without the natural gradient, at equal tuning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from geosam.ablation import Choice, Log, Method, Rule, Tuned
from geosam.metrics import EmpiricalFisher, Euclidean, GradientMagnitude
from geosam.optim.updates import Natural
from geosam.solvers import Unified

from ..classify.presets import cifar10 as table_1
from ..classify.presets import device as clean_device
from ..classify.presets import digits as clean_digits
from ..common.methods import EQUAL, FSAM, FULL, SAM, SGD
from ..common.protocol import Protocol
from .step import InParts, in_parts

TITLE = "Natural gradient, m-sharpness, proximal ε"
NATURAL_SGD, NATURAL_SAM, NATURAL_FSAM, NATURAL_FULL = (f"{name}, natural" for name in ("SGD", SAM, FSAM, FULL))
EACH, PROXIMAL = "SAM, a ball a part of the batch", "SAM, proximal"
PAIRS = ((NATURAL_SGD, EQUAL), (NATURAL_SAM, SAM), (NATURAL_FSAM, FSAM), (NATURAL_FULL, FULL))
DAMPING, PARTS = 0.1, 5


def rows() -> dict[str, Method]:
    """G is the full empirical Fisher with λ = 0.1, absolute, so that G⁻¹s is at most ten times s.

    Of FSAM it is its own ḡ², as published (η = λ = 1), whose natural gradient is s/(1 + g²). Natural SGD has twice the epochs,
    as SGD at equal compute has. Of the proximal row ρ is no radius: ε = ρg.
    """
    fisher = EmpiricalFisher(DAMPING)
    published = GradientMagnitude(1.0, damping=1.0)
    return {
        SGD: Method(),
        EQUAL: Method(stretch=2),
        NATURAL_SGD: Method(fisher, update=Natural(), rho=0.0, stretch=2),
        SAM: Method(Euclidean()),
        NATURAL_SAM: Method(Euclidean(), update=Natural(fisher)),
        FSAM: Method(published),
        NATURAL_FSAM: Method(published, update=Natural()),
        FULL: Method(fisher),
        NATURAL_FULL: Method(fisher, update=Natural()),
        EACH: Method(InParts(Euclidean(), PARTS)),
        PROXIMAL: Method(Euclidean(), solver=Unified(0.0)),
    }


def _with_rows(base: Protocol) -> Protocol:
    about = "footnote 3 and section 6 of Fisher SAM, which leave these for later; " + base.source
    rule = Rule(score="accuracy", against=SAM)
    return replace(base, source=about, methods=rows(), step=in_parts, rule=rule, warmup=0)


def cifar10() -> Protocol:
    """Table 1's data, network and schedule, with a tenth of the training samples for tuning every row in eight runs."""
    table = table_1()
    match = Tuned(trials=8, rho=Log(0.01, 2.0), lr=Choice((0.01, 0.03, 0.1)))
    return replace(_with_rows(table), data=replace(table.data, held_out=0.1), match=match)


def device() -> Protocol:
    """Minutes on a device: ResNet-20 on half of CIFAR-10. BatchNorm's statistics are frozen where rows are asked for."""
    match = Tuned(trials=6, rho=Log(0.01, 2.0), lr=Choice((0.01, 0.03, 0.1)))
    return replace(_with_rows(clean_device()), match=match, seeds=3)


def digits() -> Protocol:
    """Minutes on one core: a perceptron on 225 digits, tuned on 75 others."""
    clean = clean_digits()
    data = replace(clean.data, train=300, batch=45)
    match = Tuned(trials=3, rho=Log(0.02, 1.0), lr=Log(0.003, 0.3))
    return replace(_with_rows(clean), data=data, model="digit_mlp", match=match, epochs=10, seeds=5)


PRESETS: dict[str, Callable[[], Protocol]] = {"digits": digits, "device": device, "cifar10": cifar10}
