"""A job: after two epochs of SGD a radius is calibrated to a KL, and training goes on for five epochs with it."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from pydantic import BaseModel
from torch import nn

import geosam
from geosam import metrics

from ..common.sweep import Case
from ..data.batches import batches, probes
from ..data.digits import digits
from ..networks.initial import drawn_from
from ..networks.mlp import mlp

BEFORE, AFTER = 2, 5
GEOMETRIES = {
    "Euclidean (SAM)": metrics.Euclidean(),
    "Kronecker, damping 0.1": metrics.KroneckerFisher(geosam.Relative(0.1)),
    "Kronecker, damping 0.001": metrics.KroneckerFisher(geosam.Relative(0.001)),
    "diagonal, damping 0.001": metrics.DiagonalFisher(geosam.Relative(0.001)),
}


@dataclass(frozen=True)
class Run(Case):
    """One geometry at one KL from one seed."""

    geometry: str
    kl: float
    seed: int


class Found(BaseModel):
    """The radius; by epoch, the first entry being that of the match, ‖ε*‖₂ and KL on the batch of the match, and accuracy."""

    rho: float
    length: list[float]
    kl: list[float]
    accuracy: list[float]


def train(run: Run) -> Found:
    """A perceptron 64-64-10 on 960 of the digits; the rest is test. Batches of 60, rate 0.1, momentum after the match."""
    split = digits(960, seed=run.seed)
    with drawn_from(run.seed):
        model = nn.Sequential(nn.Flatten(), *mlp(64, 64, 10))
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    epochs = batches(split, 60, BEFORE + AFTER, run.seed)
    plain = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(BEFORE):
        for batch in next(epochs):
            problem.on(*batch)()
            plain.step()
    (probe,), metric = probes(split, 60, 1, run.seed), copy.deepcopy(GEOMETRIES[run.geometry])
    rho = geosam.calibrate(problem.on(*probe), metric, geosam.KL(run.kl))
    opt = geosam.SAM(torch.optim.SGD(model.named_parameters(), lr=0.1, momentum=0.9), metric, rho)
    found = Found(rho=rho, length=[], kl=[], accuracy=[])
    for epoch in range(AFTER + 1):
        row = geosam.compare(problem.on(*probe), metric, rho=rho).rows[0]
        found.length.append(row.length)
        found.kl.append(math.nan if row.kl is None else row.kl)
        found.accuracy.append((model(split.test_x).argmax(1) == split.test_y).double().mean().item())
        for batch in next(epochs) if epoch < AFTER else ():
            opt.step(problem.on(*batch))
    return found
