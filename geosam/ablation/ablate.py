"""An ablation: what is compared, and its one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ..core import brief
from ..records import Finished, Store, Watcher, run_all
from .alike import check_alike
from .beforehand import check_score
from .carry import Carry
from .data import as_data
from .fitting import fitting
from .method import Method, as_methods
from .outcomes import Outcomes
from .results import Results
from .setting import Run, Setting, check_settings
from .statistics.scipy import special
from .tuned import Tuned


@dataclass(frozen=True)
class Ablation:
    """Methods, seeds and what all runs share. Runs of equal seed have the same initial model and data, and at equal ``stretch``
    the same warm-up: the schedule of a base optimizer spans all steps of its run.
    """

    setting: Setting
    methods: tuple[tuple[str, Method], ...]
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        against = self.setting.rule.against
        if against not in dict(self.methods):
            raise ValueError(f"rule: against={against!r} is none of the methods {', '.join(dict(self.methods))}")
        if len(set(self.seeds)) != len(self.seeds) or not self.seeds:
            raise ValueError(f"seeds are different numbers, at least one; got {self.seeds}")
        tuned = self.setting.match
        if isinstance(tuned, Tuned) and tuned.seed in self.seeds:
            raise ValueError(f"tuning has a seed of its own, and {tuned.seed} is one of the runs'")

    def runs(self) -> list[Run]:
        """Every method from every seed, seed by seed."""
        return [Run(name, method, seed, self.setting) for seed in self.seeds for name, method in self.methods]

    def plan(self) -> list[tuple[str, int]]:
        """(title, gradients) of all that would be run without any record, tuning first. Makes the first seed's data."""
        steps, match, plan = self.setting.data(self.seeds[0]).steps, self.setting.match, []
        if isinstance(match, Tuned):
            for run in self.runs()[: len(self.methods)]:
                count = match.trials if match.space(run.method.metric is not None, run.method.rho is not None) else 0
                plan += [(f"{run.name}, trial {k}", run.passes(steps)) for k in range(count)]
        return plan + [(run.title, run.passes(steps)) for run in self.runs()]

    def work(self, folder: str | Path, checkpoint: float = 30.0) -> Carry:
        """run ↦ its result; trials of tuning and checkpoints lie in the folder."""
        return Carry(Path(folder), checkpoint)

    def carry_out(
        self, folder: str | Path, *, workers: int | None = 1, checkpoint: float = 30.0, watcher: Watcher | None = None
    ) -> Results:
        """Run what has no record in ``folder`` yet; see :func:`ablate`."""
        methods = tuple((name, copy(method)) for name, method in self.methods)
        runs = replace(self, setting=copy(self.setting), methods=methods).runs()  # copies keep what they were described as
        store, work, device = Store(Path(folder) / "records", dict), self.work(folder, checkpoint), self.setting.device
        if any(store.load(run) is None for run in runs):
            check_score(runs[0])
        if workers is None:
            first = run_all(runs[:1], work, store, watcher=watcher, device=device)
            workers = fitting(device, first[0].record)
        done = run_all(runs, work, store, workers=workers, watcher=watcher, device=device)
        if all(d.record is None for d in done):
            raise RuntimeError(f"all {len(done)} runs failed; the first with\n{done[0].error}")
        failed = {d.job.title: d.error for d in done if d.error}
        return Results(Outcomes(Finished(done).records, failed, len(runs)))


def ablate(
    model: Callable[[int], nn.Module],
    data: Any,
    methods: Mapping[str, Any],
    *,
    seeds: Iterable[int] = range(5),
    test: Any = None,
    validation: Any = None,
    batch: int = 128,
    folder: str | Path | None = None,
    workers: int | None = 1,
    checkpoint: float = 30.0,
    watcher: Watcher | None = None,
    **setting: Any,
) -> Results:
    """Train every method from every seed, and decide by the rule that was fixed before.

    model: seed ↦ module. data: (x, y) or a torch data set, with ``test``, ``validation`` (a part of the training set as a
    number, or data) and the size of a ``batch``; or seed ↦ :class:`geosam.ablation.Data`. methods: name ↦ None (the base
    optimizer alone), a metric, (metric, objective, update), or :class:`geosam.ablation.Method`, whose ``stretch=2`` gives
    SGD the compute of SAM.

    Further settings: epochs; warmup, the first of them, the base alone for every method; loss; optimizer,
    :class:`geosam.ablation.Sgd` by default; match, the radius: one number for all, or after the warm-up on ``probes`` training
    batches ``geosam.KL(…)``, ``Length(…)`` or ``Rise(…)`` (geometric mean), or :class:`geosam.ablation.Tuned`; score;
    problem, (model, loss) ↦ ``geosam.Problem``; step; rule, :class:`geosam.ablation.Rule`; device; look, what else is measured
    after every epoch: a function of the run's :class:`geosam.ablation.Training`, whose numbers are kept with the epoch's.

    folder: of the records, a file a run, by default ``runs/ablation``. A run that has its record is not run again; one that
    was stopped goes on from its checkpoint, at most ``checkpoint`` seconds old. Several commands may share a folder. workers:
    processes; None takes as many as the device has room for. A run that fails is told in the results and leaves the others
    alone. Raises: RuntimeError where all runs fail, ImportError without SciPy, OSError where the folder cannot be written.
    """
    ablation = planned(model, data, methods, seeds=seeds, test=test, validation=validation, batch=batch, **setting)
    special()  # verdicts need SciPy: where it is missing, nothing is trained first
    return ablation.carry_out(folder or "runs/ablation", workers=workers, checkpoint=checkpoint, watcher=watcher)


def planned(
    model: Callable[[int], nn.Module],
    data: Any,
    methods: Mapping[str, Any],
    *,
    seeds: Iterable[int] = range(5),
    test: Any = None,
    validation: Any = None,
    batch: int = 128,
    **setting: Any,
) -> Ablation:
    """What :func:`ablate` would carry out."""
    if not callable(model) or isinstance(model, nn.Module):
        raise TypeError(
            f"model is a function of the seed that makes a module, such as lambda seed: network(); got {brief(model)}"
        )
    check_settings(setting)
    named = as_methods(methods)
    shared = Setting(model, as_data(data, test, validation, batch), **setting)
    if shared.rule.against is None:
        first = next((name for name, method in named if method.metric is not None), named[0][0])
        shared = replace(shared, rule=replace(shared.rule, against=first))
    if not isinstance(seeds, Iterable):
        raise TypeError(f"seeds are different numbers, such as range({seeds!r}); got {seeds!r}")
    return Ablation(shared, named, tuple(int(seed) for seed in seeds))


def read(folder: str | Path) -> Results:
    """The results whose records a folder has; nothing is run, and no model is needed.

    Raises: FileNotFoundError without a record, ValueError where they are of several ablations.
    """
    store = Store(Path(folder) / "records", dict)
    found = [record for path in sorted(store.directory.glob("*.json")) if (record := store.read(path)) is not None]
    if not found:
        raise FileNotFoundError(f"no usable record in {store.directory}: {store.broken or 'it is empty'}")
    check_alike(found)
    broken = {path.name: why for path, why in store.broken.items()}
    return Results(Outcomes(found, broken, len(found) + len(broken)))
