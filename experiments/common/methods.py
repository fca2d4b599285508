"""The rows of the tables: SGD, and SAM in each geometry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from geosam import Metric
from geosam.ablation import Method
from geosam.core import Norm
from geosam.metrics import (
    DiagonalEmpiricalFisher,
    DiagonalFisher,
    EmpiricalFisher,
    Euclidean,
    GradientMagnitude,
    KLExact,
    Monge,
    MonteCarlo,
    ParameterScaled,
)
from geosam.objectives import NoiseWeighted
from geosam.observation import as_metric

from .named import named

SGD, EQUAL, SAM, ASAM, FSAM = "SGD", "SGD, equal compute", "SAM", "ASAM", "FSAM"
FULL, MONGE, NOISE = "full empirical Fisher", "Monge", "NoiseWeighted"
CONTROL = "SAM at FSAM's γ"
PLAIN = "FSAM, plain regulariser"

DIAGONAL, SAMPLED, KL = "per-sample diagonal", "sampled diagonal Fisher", "KL along full empirical Fisher"

CORE = (SGD, EQUAL, SAM, ASAM, FSAM, FULL)
SLOW = (DIAGONAL, SAMPLED, KL)


def rows(names: Sequence[str], eta: float = 1.0, asam_eta: float = 0.01) -> dict[str, Method]:
    """eta: of Fisher SAM, G = 1 + eta g². asam_eta: of ASAM. Every ball is one for the whole batch."""
    known = {
        SGD: Method(),
        EQUAL: Method(stretch=2),
        SAM: Method(Euclidean()),
        ASAM: Method(ParameterScaled(asam_eta)),
        FSAM: Method(GradientMagnitude(eta, damping=1.0)),
        FULL: Method(EmpiricalFisher()),
        MONGE: Method(Monge()),
        NOISE: Method(Euclidean(), NoiseWeighted()),
        PLAIN: Method(GradientMagnitude(1.0, damping=1e-3)),
        DIAGONAL: Method(DiagonalEmpiricalFisher()),
        SAMPLED: Method(DiagonalFisher(sampling=MonteCarlo(1))),
        KL: Method(KLExact(along=EmpiricalFisher(), cap=1.0)),
    }
    return {name: known[name] for name in names}


def at(methods: Mapping[str, Method], radii: Mapping[str, float]) -> dict[str, Method]:
    """The methods with these radii, as published."""
    return {name: replace(method, rho=radii[name]) if name in radii else method for name, method in methods.items()}


def users(names: Sequence[str]) -> dict[str, Method]:
    """Users' geometries by ``module:name``: a metric or norm, a class of them, or a function that makes one."""
    return {name: Method(_geometry(name)) for name in names}


def _geometry(name: str) -> Metric:
    found: Any = named("metric", name, {})
    return as_metric(found if isinstance(found, Metric | Norm) else found())
