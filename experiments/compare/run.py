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
from geosam.ablation import Method, Setting, Sgd, Training
from geosam.ablation import Run as Job

from ..common.solved import spent
from ..data.batches import in_order
from ..data.digits import digits
from ..data.split import Split
from ..networks.digit_cnn import digit_cnn
from .config import Run
from .measure import LOSS, snapshot
from .result import Epoch, Number, Outcome, Radius, Snapshot


def train(run: Run) -> Outcome:
    """Warm up, calibrate, train, measure."""
    split = digits(run.training.train_size, run.training.label_noise, run.training.split_seed)
    timer = Timer(run.training.warmup, run.training.steps)
    training = Training(_job(run, split, timer))
    probes = training.probes()
    epochs: list[Epoch] = []
    snapshots: list[Snapshot] = []
    for counts in training.epochs():
        if counts:
            epochs.append(_measure(run, training, split, probes))
            if run.snapshots is not None and len(epochs) in run.snapshots.after(run.training):
                snapshots.append(snapshot(training.problem, probes[0], len(epochs), run.snapshots, run.calibration.kl))
    return Outcome(
        method=run.method.name,
        parameters=sum(p.numel() for p in training.model.parameters()),
        radius=None if training.radius is None else Radius(**training.radius),
        epochs=epochs,
        step_seconds=median(timer.own),
        reference_seconds=median(timer.other),
        snapshots=snapshots,
    )


def _job(run: Run, split: Split, timer: Timer) -> Job:
    training = run.training
    setting = Setting(
        model=partial(digit_cnn, training.width),
        data=partial(in_order, split, training.batch),
        epochs=training.epochs,
        warmup=training.warmup,
        loss=LOSS,
        optimizer=Sgd(training.lr, training.momentum, training.weight_decay),
        match=geosam.KL(run.calibration.kl),
        probes=run.calibration.batches,
        step=timer.step,
    )
    return Job(run.method.name, Method(run.method.metric, stretch=run.method.stretch), run.seed, setting)


class Timer:
    """Seconds of the run's own steps after the warm-up, and, once an epoch, of a Euclidean SAM step on a copy of the initial
    network that never moves: what they are compared with, in the same process."""

    def __init__(self, warmup: int, steps: int) -> None:
        self.warmup, self.steps, self.taken = warmup, steps, 0
        self.own: list[float] = []
        self.other: list[float] = []
        self.reference: Callable[..., Any] | None = None

    def step(self, optimizer: Any, problem: geosam.Problem) -> Callable[[Any, Any], torch.Tensor]:
        """``optimizer.step``, timed."""
        self.reference = self.reference or _reference(problem.model)
        return partial(self._step, optimizer, problem, self.reference)

    def _step(self, optimizer: Any, problem: geosam.Problem, reference: Callable[..., Any], x: Any, y: Any) -> torch.Tensor:
        loss, seconds = _timed(lambda: optimizer.step(problem.on(x, y)))
        epoch, index = divmod(self.taken, self.steps)
        self.taken += 1
        if epoch >= self.warmup:
            self.own.append(seconds)
            if index == self.steps // 2:
                self.other.append(_timed(lambda: reference(x, y))[1])
        return loss


def _reference(model: nn.Module) -> Callable[..., Any]:
    problem = geosam.Problem(copy.deepcopy(model), LOSS)
    sam = geosam.SAM(torch.optim.SGD(problem.model.named_parameters(), lr=0.0, momentum=0.9), rho=0.05)
    return lambda x, y: sam.step(problem.on(x, y))


def _timed(action: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return action(), time.perf_counter() - start


@torch.no_grad()
def _measure(run: Run, training: Training, split: Split, probes: list[Any]) -> Epoch:
    outputs = training.model(split.test_x)
    kl = length = None
    if training.radius is not None and run.method.metric is not None:
        with torch.enable_grad():
            kl, length = spent(training.problem, run.method.metric, training.radius["rho"], probes)
    return Epoch(
        gradients=training.passes,
        loss=_finite(training.rows[-1]["loss"]),
        test_accuracy=(outputs.argmax(1) == split.test_y).float().mean().item(),
        test_loss=_finite(LOSS(outputs, split.test_y).item()),
        kl=_finite(kl),
        length=_finite(length),
    )


def _finite(value: float | None) -> Number:
    return value if value is not None and math.isfinite(value) else None
