"""One run: a method trained from a seed, measured after every epoch."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import nn

import geosam

from ..data.batches import Batch, batches, probes
from ..data.digits import digits
from ..data.split import Split
from ..networks.digit_cnn import digit_cnn
from .config import Run
from .measure import LOSS, radius, snapshot, spent
from .result import Epoch, Number, Outcome, Radius, Snapshot


def train(run: Run) -> Outcome:
    """Warm up, calibrate, train, measure."""
    training, metric = run.training, run.method.metric
    split = digits(training.train_size, training.label_noise, training.split_seed)
    problem = geosam.Problem(digit_cnn(training.width, run.seed), LOSS)
    fixed = probes(split, training.batch, run.calibration.batches, run.seed)
    total = training.warmup + run.method.stretch * (training.epochs - training.warmup)
    base, schedule = _sgd(run, problem.model, total * training.steps)
    reference = _reference(problem.model)
    optimizer: Any = base  # SGD, then SAM: either takes a bound problem
    found: Radius | None = None
    epochs: list[Epoch] = []
    snapshots: list[Snapshot] = []
    own: list[float] = []
    other: list[float] = []
    gradients = 0
    for index, chosen in enumerate(batches(split, training.batch, total, run.seed)):
        late = index - training.warmup
        if late == 0 and metric is not None:
            found = radius(problem, metric, fixed, run.calibration.kl)
            optimizer = geosam.SAM(base, metric=metric, rho=found.rho)
        losses: list[float] = []
        for i, batch in enumerate(chosen):
            seconds = _timed(partial(_step, optimizer, problem, batch, losses))
            schedule.step()
            gradients += 1 if found is None else 2
            if late >= 0:
                own.append(seconds)
            if late >= 0 and i == len(chosen) // 2:
                other.append(_timed(partial(reference, batch)))
        if late < 0 or (late + 1) % run.method.stretch == 0:
            epochs.append(_measure(run, problem, found, split, fixed, losses, gradients))
            if run.snapshots is not None and len(epochs) in run.snapshots.after(training):
                snapshots.append(snapshot(problem, fixed[0], len(epochs), run.snapshots, run.calibration.kl))
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


def _step(optimizer: Any, problem: geosam.Problem, batch: Batch, losses: list[float]) -> None:
    losses.append(optimizer.step(problem.on(*batch)).item())


def _sgd(run: Run, model: nn.Module, steps: int) -> tuple[torch.optim.SGD, torch.optim.lr_scheduler.LRScheduler]:
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
    outputs = model(split.test_x)
    accuracy = (outputs.argmax(1) == split.test_y).float().mean().item()
    return accuracy, LOSS(outputs, split.test_y).item()


def _measure(
    run: Run,
    problem: geosam.Problem,
    found: Radius | None,
    split: Split,
    fixed: list[Batch],
    losses: list[float],
    gradients: int,
) -> Epoch:
    accuracy, test_loss = _tested(problem.model, split)
    kl = length = None
    if found is not None and run.method.metric is not None:
        kl, length = spent(problem, run.method.metric, found.rho, fixed)
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
