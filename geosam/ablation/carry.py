"""Carry a run out: tune, train from the seed or a checkpoint, score, and say what came out."""

from __future__ import annotations

import math
import sys
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..records import Store, fingerprint
from . import streams
from .checkpoint import Checkpoint
from .score import Score, plain
from .setting import Run
from .training import Training
from .tuned import Tried, Tuned


@dataclass(frozen=True)
class Carry:
    """run ↦ its result, for :func:`geosam.records.run_all`. every: seconds between checkpoints."""

    folder: Path
    every: float = 30.0

    def __call__(self, run: Run) -> dict[str, Any]:
        """A run of the ablation: tuned where its setting says so, tested once, after its last epoch."""
        tuned = self.tuned(run) if isinstance(run.setting.match, Tuned) else None
        training, found = self._trained(run, tuned and tuned["chosen"])
        test = training.data.test
        found["test"] = None if test is None else plain(training.scored(test))
        found["tuned"] = tuned
        self._checkpoint(run).remove()
        return found

    def trial(self, run: Run) -> dict[str, Any]:
        """A trial of tuning: never tested."""
        _, found = self._trained(run, dict(run.chosen or ()))
        self._checkpoint(run).remove()
        return found

    def tuned(self, run: Run) -> dict[str, Any]:
        """What the method is tuned to: its trials are runs with records of their own, in ``folder/trials``.

        Whoever comes first runs a trial; all others read it.
        """
        match = run.setting.match
        assert isinstance(match, Tuned)
        space = match.space(run.method.metric is not None, run.method.rho is not None)
        store, tried = Store(self.folder / "trials", dict), list[Tried]()
        for _ in range(match.trials if space else 0):
            values = match.suggest(space, tried)
            job = replace(run, seed=match.seed, chosen=tuple(values.items()))
            with store.claim(job, wait=True):
                record = store.load(job)
                if record is None:
                    start = time.perf_counter()
                    record = store.save(job, self.trial(job), time.perf_counter() - start, run.setting.device)
            tried.append((values, _judged(record.result, match)))
        chosen = match.best(tried) if tried else {}
        return {"chosen": chosen, "trials": [{**values, "value": value} for values, value in tried]}

    def _trained(self, run: Run, chosen: dict[str, float] | None) -> tuple[Training, dict[str, Any]]:
        device, checkpoint = torch.device(run.setting.device), self._checkpoint(run)
        with streams.apart(device):
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            training = Training(run, chosen)
            state, why = checkpoint.load()
            if why is not None:
                warnings.warn(why, stacklevel=2)
            if state is not None:
                training.load(state)
            for counts in training.epochs():
                if counts and training.data.validation is not None:
                    training.rows[-1]["validation"] = plain(training.scored(training.data.validation))
                if counts and run.setting.look is not None and run.chosen is None:
                    with training.unchanged():
                        training.rows[-1]["look"] = plain(dict(run.setting.look(training)))
                checkpoint.save(training.state())
        return training, _outcome(run, training)

    def _checkpoint(self, run: Run) -> Checkpoint:
        return Checkpoint(self.folder / "checkpoints" / f"{fingerprint(run)}.pt", self.every)


def _outcome(run: Run, training: Training) -> dict[str, Any]:
    rows = training.rows
    finite = all(torch.isfinite(p).all().item() for p in training.model.parameters())
    return {
        "method": run.name,
        "parameters": sum(p.numel() for p in training.model.parameters()),
        "radius": training.radius,
        "epochs": rows,
        "validation": rows[-1].get("validation"),
        "passes": training.passes,
        "seconds": training.seconds,
        "diverged": not finite or not math.isfinite(rows[-1]["loss"]),
        "peak_bytes": _peak(training.device),
    }


def _judged(result: dict[str, Any], match: Tuned) -> float | None:
    score: Score | None = result["validation"]
    if score is None:
        raise ValueError(
            "Tuned(...) chooses on validation data, and there are none: give validation=0.1, or data that have some"
        )
    if match.score not in score:
        raise ValueError(f"Tuned(score={match.score!r}): the score has {', '.join(score)}")
    return None if result["diverged"] else score[match.score]


def _peak(device: torch.device) -> int | None:
    """Of the device; on a CPU, of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
