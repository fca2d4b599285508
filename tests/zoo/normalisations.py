"""Normalisations: of a sample, of the batch (training, evaluated, frozen), of weights."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tests.zoo.layers import N, draw, labels
from tests.zoo.line import Line, Setting


def images(norm: nn.Module, features: int = 2) -> Setting:
    net = nn.Sequential(nn.Conv2d(1, features, 2), norm, nn.Tanh(), nn.Flatten(), nn.Linear(4 * features, 3))
    return Setting(net, nn.CrossEntropyLoss(), draw(N, 1, 3, 3), labels())


def vectors(*layers: nn.Module) -> Setting:
    return Setting(nn.Sequential(*layers, nn.Tanh(), nn.Linear(4, 3)), nn.CrossEntropyLoss(), draw(N, 3), labels())


def batch_norm(training: bool = True, **options: bool) -> Setting:
    found = vectors(nn.Linear(3, 4), nn.BatchNorm1d(4, **options))
    with torch.no_grad():
        found.model(found.x + 1)  # running statistics of another batch
    found.model.train(training)
    found.together = training or not options.get("track_running_stats", True)
    return found


class Held(nn.Module):
    """BatchNorm with this batch's own moments as constants."""

    def __init__(self, norm: nn.BatchNorm1d, h: Tensor) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.mean, self.variance = h.mean(0), h.var(0, unbiased=False)

    def forward(self, h: Tensor) -> Tensor:
        return self.weight * (h - self.mean) / (self.variance + self.eps).sqrt() + self.bias


def frozen() -> Setting:
    """Per-sample quantities at statistics held constant."""
    found = batch_norm()
    with torch.no_grad():
        held = Held(found.model[1], found.model[0](found.x))  # type: ignore[index, operator]
    found.plain = nn.Sequential(found.model[0], held, *found.model[2:])  # type: ignore[index]
    found.frozen, found.together = True, False
    return found


def reparametrised(norm: object) -> Setting:
    return vectors(norm(nn.Linear(3, 4)))  # type: ignore[operator]


def old_weight_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        made: nn.Module = nn.utils.weight_norm(layer)
        return made


def spectral(training: bool) -> Setting:
    found = reparametrised(parametrizations.spectral_norm)
    found.model.train(training)
    return found


def instance(**options: bool) -> Setting:
    return images(nn.InstanceNorm2d(2, affine=True, **options))


COUPLED = {"samples": "normalises by the batch's statistics"}
TWICE = {"sharpness": "torch derives some operation wrongly the second time"}

LINES = [
    Line("LayerNorm, cross-entropy", lambda: vectors(nn.Linear(3, 4), nn.LayerNorm(4))),
    Line("RMSNorm, cross-entropy", lambda: vectors(nn.Linear(3, 4), nn.RMSNorm(4))),
    Line("GroupNorm, cross-entropy", lambda: images(nn.GroupNorm(2, 4), 4)),
    Line("InstanceNorm, cross-entropy", instance),
    Line("InstanceNorm with running statistics, cross-entropy", lambda: instance(track_running_stats=True)),
    Line("local response normalisation, cross-entropy", lambda: images(nn.LocalResponseNorm(2))),
    Line("BatchNorm in training mode, cross-entropy", batch_norm, COUPLED),
    Line("BatchNorm in eval mode, cross-entropy", lambda: batch_norm(training=False)),
    Line(
        "BatchNorm in eval mode without statistics, cross-entropy",
        lambda: batch_norm(training=False, track_running_stats=False),
        COUPLED,
    ),
    Line(
        "BatchNorm in training mode, frozen statistics, cross-entropy",
        frozen,
        only=("rows", "rows by Func", "EmpiricalFisher", "DiagonalEmpiricalFisher", "DiagonalFisher"),
        dtypes=(torch.float64,),  # of which the constants are
    ),
    Line("weight norm, cross-entropy", lambda: reparametrised(parametrizations.weight_norm), TWICE),
    Line("weight norm of the old kind, cross-entropy", lambda: reparametrised(old_weight_norm), TWICE),
    Line("spectral norm in training mode, cross-entropy", lambda: spectral(True)),
    Line("spectral norm in eval mode, cross-entropy", lambda: spectral(False)),
    Line("orthogonal weights, cross-entropy", lambda: reparametrised(parametrizations.orthogonal)),
]
