"""The training of one run, an epoch at a time, from a seed or from where a checkpoint left it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..measure import calibrate
from ..measure.calibrate import Match
from . import streams
from .data import Batch, moved
from .own import check_own, own
from .score import Score
from .setting import Run


class Training:
    """A run's model, optimizer and numbers. ``for _ in training.epochs()`` trains; in between all may be read and saved.

    chosen: values for rho and lr, where these were tuned. radius: {"rho", "each"}, of SAM after the warm-up. done: epochs that
    have been trained, and seconds that they took. rows: a dict an epoch that counts.
    """

    def __init__(self, run: Run, chosen: Mapping[str, float] | None = None) -> None:
        setting, run = run.setting, replace(run, method=own(run.method))
        self.run, self.setting, self.device = run, setting, torch.device(setting.device)
        self.chosen = dict(chosen or {})
        streams.seed(run.seed)
        model = setting.model(run.seed)
        if not isinstance(model, nn.Module):
            raise TypeError(f"model(seed) must give a torch module, got {type(model).__name__}")
        check_own(model)
        loss = own(setting.loss).to(self.device) if isinstance(setting.loss, nn.Module) else setting.loss
        self.problem = setting.problem(model.to(self.device), loss)
        self.data = setting.data(run.seed)
        tuned = {"lr": self.chosen["lr"]} if "lr" in self.chosen else {}
        built = setting.optimizer(self.model.named_parameters(), run.epochs * self.data.steps, **tuned)
        pair: Any = built if isinstance(built, tuple) else (built, None)
        self.base, self.schedule = pair
        self.optimizer: Any = self.base  # SGD, then SAM: either takes a bound problem
        self.radius: dict[str, Any] | None = None
        self.done, self.passes, self.seconds = 0, 0, 0.0
        self.rows: list[dict[str, Any]] = []
        streams.seed(run.seed)  # what the steps draw does not depend on how many numbers the model drew

    @property
    def model(self) -> nn.Module:
        """The model, on its device."""
        return self.problem.model

    def probes(self) -> list[Batch]:
        """The fixed training batches, on the device."""
        return [moved(batch, self.device) for batch in self.data.probes(self.setting.probes)]

    def epochs(self) -> Iterator[bool]:
        """Train; after every epoch, whether it counts: of those that stand for one, the last."""
        step = None
        while self.done < self.run.epochs:
            start, late = time.perf_counter(), self.done - self.setting.warmup
            if late >= 0 and self.radius is None and self.run.method.metric is not None:
                self._sharpen()
                step = None
            step = step or self.setting.step(self.optimizer, self.problem)
            row = self._epoch(step)
            self.seconds += time.perf_counter() - start
            self.done += 1
            counts = late < 0 or (late + 1) % self.run.method.stretch == 0
            if counts:
                self.rows.append(row)
            yield counts

    def scored(self, batches: Any) -> Score:
        """The model's score on batches, in evaluation mode; modes are put back."""
        with self.unchanged():
            self.model.eval()
            return self.setting.score(self.model, self.problem.loss, (moved(batch, self.device) for batch in batches))

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Modes of modules are put back, and what is drawn is drawn apart."""
        modes = [(module, module.training) for module in self.model.modules()]
        try:
            with streams.apart(self.device):
                yield
        finally:
            for module, training in modes:
                module.training = training

    def state(self) -> dict[str, Any]:
        """All that going on needs."""
        return {
            "model": self.model.state_dict(),
            "loss": self.problem.loss.state_dict() if isinstance(self.problem.loss, nn.Module) else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "radius": self.radius,
            "done": self.done,
            "passes": self.passes,
            "seconds": self.seconds,
            "rows": self.rows,
            "random": streams.state(self.device),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        self.model.load_state_dict(state["model"])
        if isinstance(self.problem.loss, nn.Module):
            self.problem.loss.load_state_dict(state["loss"])
        self.radius = state["radius"]
        if self.radius is not None:
            self.optimizer = self.run.method.around(self.base, self.radius["rho"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self.done, self.passes, self.rows, self.seconds = (state[k] for k in ("done", "passes", "rows", "seconds"))
        streams.load(state["random"], self.device)

    def _sharpen(self) -> None:
        method, match = self.run.method, self.setting.match
        assert method.metric is not None
        each: list[float] = []
        rho = method.rho if method.rho is not None else self.chosen.get("rho")
        if rho is None and isinstance(match, Match):
            bounds = [self.problem.on(x, y) for x, y in self.probes()]
            each = [calibrate(bound, method.metric, match, method.objective) for bound in bounds]
            rho = math.exp(sum(map(math.log, each)) / len(each))
        elif rho is None:
            rho = float(match)  # type: ignore[arg-type]  # tuned runs have theirs in ``chosen``
        self.radius = {"rho": rho, "each": each}
        self.optimizer = method.around(self.base, rho)

    def _epoch(self, step: Any) -> dict[str, Any]:
        losses: list[Tensor] = []
        skipped: list[Tensor] = []
        for batch in self.data.epoch(self.done):
            losses.append(step(*moved(batch, self.device)).detach().clone())  # a captured step writes into the same one again
            if self.radius is not None and self.optimizer.last is not None:
                last = self.optimizer.last
                skipped.append(last.skipped | ~last.finite)
            if self.schedule is not None:
                self.schedule.step()
        self.passes += len(losses) * (1 if self.radius is None else self.run.method.passes)
        values = torch.stack(losses).tolist()  # one read of the device
        missed = int(torch.stack(skipped).sum().item()) if skipped else 0
        return {"passes": self.passes, "loss": sum(values) / len(values), "skipped": missed}
