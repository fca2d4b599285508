"""One run: a method trained from a seed, measured after every epoch."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn

import geosam

from .config import Run
from .data import Split, batches, digits
from .measure import LOSS, Batch, radius, snapshot, spent
from .network import network
from .result import Epoch, Number, Outcome, Radius, Snapshot

PROBE_SEED = 20_000  # added to a run's seed: batches in another order than the run's own


def train(run: Run) -> Outcome:
    """Warm up, calibrate, train, measure."""
    split, training, metric = digits(run.training), run.training, run.method.metric
    problem = geosam.Problem(network(training.width, run.seed), LOSS)
    probes = next(batches(split, training, 1, PROBE_SEED + run.seed))[: run.calibration.batches]
    total = training.warmup + run.method.stretch * (training.epochs - training.warmup)
    base, schedule = _sgd(run, problem.model, total * training.steps)
    reference = _reference(problem.model)
    optimizer, found, epochs, snapshots, own, other, gradients = base, None, [], [], [], [], 0

    for index, chosen in enumerate(batches(split, training, total, run.seed)):
        late = index - training.warmup
        if late == 0 and metric is not None:
            found = radius(problem, metric, probes, run.calibration.kl)
            optimizer = geosam.SAM(base, metric=metric, rho=found.rho)
        losses = []
        for i, batch in enumerate(chosen):
            seconds = _timed(lambda b=batch, o=optimizer, to=losses: to.append(o.step(problem.on(*b)).item()))
            schedule.step()
            gradients += 1 if found is None else 2
            if late >= 0:
                own.append(seconds)
            if late >= 0 and i == len(chosen) // 2:
                other.append(_timed(lambda b=batch: reference(b)))
        if late < 0 or (late + 1) % run.method.stretch == 0:
            epochs.append(_measure(run, problem, found, split, probes, losses, gradients))
            if run.snapshots is not None and len(epochs) in run.snapshots.after(training):
                snapshots.append(snapshot(problem, probes[0], len(epochs), run.snapshots, run.calibration.kl))
    return _outcome(run, problem.model, found, epochs, (own, other), snapshots)


def _outcome(
    run: Run,
    model: nn.Module,
    found: Radius | None,
    epochs: list[Epoch],
    seconds: tuple[list[float], list[float]],
    snapshots: list[Snapshot],
) -> Outcome:
    return Outcome(
        method=run.method.name,
        parameters=sum(p.numel() for p in model.parameters()),
        radius=found,
        epochs=epochs,
        step_seconds=median(seconds[0]),
        reference_seconds=median(seconds[1]),
        snapshots=snapshots,
    )


def _sgd(run: Run, model: nn.Module, steps: int):
    training = run.training
    sgd = torch.optim.SGD(model.named_parameters(), training.lr, training.momentum, weight_decay=training.weight_decay)
    return sgd, torch.optim.lr_scheduler.CosineAnnealingLR(sgd, steps)


def _reference(model: nn.Module) -> Callable[[Batch], object]:
    """A Euclidean SAM step on a copy that never moves: what a step of the run is timed against, in the same process."""
    problem = geosam.Problem(copy.deepcopy(model), LOSS)
    sam = geosam.SAM(torch.optim.SGD(problem.model.named_parameters(), lr=0.0, momentum=0.9), rho=0.05)
    return lambda batch: sam.step(problem.on(*batch))


def _timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


@torch.no_grad()
def _tested(model: nn.Module, split: Split) -> tuple[float, float]:
    outputs = model(split.test_images)
    accuracy = (outputs.argmax(1) == split.test_labels).float().mean().item()
    return accuracy, LOSS(outputs, split.test_labels).item()


def _measure(
    run: Run,
    problem: geosam.Problem,
    found: Radius | None,
    split: Split,
    probes: list[Batch],
    losses: list[float],
    gradients: int,
) -> Epoch:
    accuracy, test_loss = _tested(problem.model, split)
    kl = length = None
    if found is not None:
        kl, length = spent(problem, run.method.metric, found.rho, probes)
    return Epoch(
        gradients=gradients,
        loss=_finite(sum(losses) / len(losses)),
        test_accuracy=accuracy,
        test_loss=_finite(test_loss),
        kl=_finite(kl),
        length=_finite(length),
    )


def _finite(value: float | None) -> Number:
    return value if value is not None and math.isfinite(value) else None
