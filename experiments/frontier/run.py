"""One run: a network trained by plain SGD, and every approximation evaluated at its checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

import geosam
from geosam import Divergence, Metric
from geosam.problem import Bound

from ..common.memory import peak_bytes
from ..common.source import TEST_BATCH, Network
from ..common.timing import DEVICE, PROCESS, Clock, Job, race
from ..data.batches import PROBE_SEED, Batch, batches, probes
from ..data.digits import digits
from ..data.split import Split
from ..networks.digit_cnn import digit_cnn
from ..networks.digit_mlp import digit_mlp
from .config import Run
from .held import held
from .judge import LOSS, Judge, finite, flat
from .methods import FLOOR, SHARED, Method, damped
from .result import Checkpoint, Cost, Look, Outcome

NETWORKS = {"cnn": digit_cnn, "mlp": digit_mlp}


def measure(run: Run) -> Outcome:
    """Train, and evaluate all methods at each checkpoint; at the last one time them on the first probe."""
    training, found = run.training, []
    problem, split = scene(run)
    device, steps = split.x.device, len(split.y) // training.batch
    fixed = probes(split, run.looks.size or training.batch, run.looks.batches, run.seed)
    sgd = torch.optim.SGD(problem.model.parameters(), training.lr, training.momentum, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, training.epochs * steps)
    with torch.random.fork_rng(devices=[]):
        if 0 in run.looks.epochs:
            found.append(look(run, problem, split, fixed, 0))
        for epoch, chosen in enumerate(batches(split, training.batch, run.looks.epochs[-1], run.seed), start=1):
            for batch in chosen:
                sgd.step(problem.on(*batch))
                schedule.step()
            if epoch in run.looks.epochs:
                found.append(look(run, problem, split, fixed, epoch))
        last = geosam.Problem(held(problem.model, fixed[0][0]), LOSS).on(*fixed[0])
        raced = times(run, last, device)
        clock = clock_of(device).name
        costs = [
            Cost(
                method=m.name,
                process=raced["jobs"][m.name][f"{clock}_ms"],
                ratio=raced["jobs"][m.name]["ratio"],
                bytes=peak_bytes(perturbation(last, m.metric, run), device),
            )
            for m in run.methods
        ]
    return Outcome(
        network=run.network,
        parameters=sum(p.numel() for p in problem.model.parameters()),
        batch=run.looks.size or training.batch,
        checkpoints=found,
        costs=costs,
        noise=raced["aa_difference"],
    )


def scene(run: Run) -> tuple[geosam.Problem, Split]:
    """The network with the values that the seed draws, and what it is shown, on its device."""
    training, source = run.training, run.source
    if source is None:
        split = digits(training.train_size, training.label_noise, training.split_seed)
        return geosam.Problem(NETWORKS[run.network](training.width, run.seed), LOSS), split
    shown = source.task.standardise
    split = replace(source.task.split, x=shown(source.task.split.x), test_x=shown(source.task.split.test_x))
    return geosam.Problem(Network(run.network, source)(run.seed), LOSS), split


def look(run: Run, problem: geosam.Problem, split: Split, fixed: list[Batch], epoch: int) -> Checkpoint:
    """All methods on all of the fixed batches, each with its own statistics where there are any."""
    looks, norms = [], []
    for i, probe in enumerate(fixed):
        still = held(problem.model, probe[0])
        judge = Judge.of(still, probe, run.looks.limit)
        norms.append(judge.dual_norm)
        for method in run.methods:
            torch.manual_seed(PROBE_SEED + 100 * run.seed + i)  # every method draws the same labels
            looks += seen(run, geosam.Problem(still, LOSS).on(*probe), method, judge, i)
    loss, accuracy = tested(problem.model, split)
    return Checkpoint(
        epoch=epoch,
        loss=finite(loss),
        accuracy=accuracy,
        dual_norms=norms,
        looks=looks,
    )


def seen(run: Run, bound: Bound, method: Method, judge: Judge, batch: int) -> list[Look]:
    """A method at the shared damping, and at the further ones where it has any."""
    tried: dict[float | None, Metric] = {SHARED.ratio: method.metric, **{r: damped(method.metric, r) for r in run.looks.ratios}}
    if all(metric == method.metric for metric in tried.values()):
        tried = {None: method.metric}
    observation, found = geosam.observe(bound, method.metric.needs, method.name), []
    for ratio, metric in tried.items():
        if metric.needs != method.metric.needs:  # a damping that is part of what is asked for
            observation = geosam.observe(bound, metric.needs, method.name)
        geometry, radii = metric.at(observation), [math.sqrt(2 * kl) for kl in run.looks.kls]
        solved = geosam.solve(geometry, observation.gradient, radii[0])
        epsilons = [flat(solved.epsilon)]
        for rho in radii[1:]:  # ε* of a norm is ρ times a fixed vector
            again = isinstance(geometry, Divergence)
            scaled = epsilons[0] * (rho / radii[0])
            epsilons.append(flat(geosam.solve(geometry, observation.gradient, rho).epsilon) if again else scaled)
        found.append(
            Look(
                method=method.name,
                batch=batch,
                ratio=ratio,
                shared=ratio in (None, SHARED.ratio),
                cosine=judge.cosine(epsilons[0]),
                local=judge.local(epsilons[0]),
                at=[judge.spent(epsilon, kl) for epsilon, kl in zip(epsilons, run.looks.kls, strict=True)],
                iterations=solved.report.get("iterations"),
                residual=solved.report.get("residual"),
            )
        )
    return found


def perturbation(bound: Bound, metric: Metric, run: Run) -> Callable[[], list[Tensor]]:
    """ε* from nothing: the first pass with all that the metric needs, the geometry, the solution."""
    rho = math.sqrt(2 * run.looks.kls[0])

    def once() -> list[Tensor]:
        observation = geosam.observe(bound, metric.needs, type(metric).__name__)
        return geosam.solve(metric.at(observation), observation.gradient, rho).epsilon

    return once


def clock_of(device: torch.device) -> Clock:
    """Process time, or events on the device."""
    return DEVICE if device.type == "cuda" else PROCESS


def times(run: Run, bound: Bound, device: torch.device) -> dict[str, Any]:
    """Times of all methods, shuffled in each round; the Euclidean perturbation runs twice."""
    jobs = {m.name: Job(m.name, perturbation(bound, m.metric, run)) for m in run.methods}
    return race(
        jobs[FLOOR], [job for name, job in jobs.items() if name != FLOOR], run.looks.rounds, warmup=1, clock=clock_of(device)
    )


@torch.no_grad()
def tested(model: nn.Module, split: Split) -> tuple[float, float]:
    """(loss on the training images, accuracy on the test images)."""
    model.eval()
    loss = sum(len(y) * LOSS(model(x), y).item() for x, y in _parts(split.x, split.y)) / len(split.y)
    hits = sum((model(x).argmax(1) == y).sum().item() for x, y in _parts(split.test_x, split.test_y))
    model.train()
    return loss, hits / len(split.test_y)


def _parts(x: Tensor, y: Tensor) -> Iterator[Batch]:
    return zip(x.split(TEST_BATCH), y.split(TEST_BATCH), strict=True)
