"""A study of ablations, one a setting: its plan, its runs, and a page of all of them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from geosam.ablation import Ablation, Method, Results, Run, read
from geosam.ablation.report import Page, Picture
from geosam.metrics import Euclidean
from geosam.records import Store, fingerprint, run_all

from .methods import CONTROL, FSAM
from .named import named
from .options import Options
from .overview import Together, overview
from .runner import Bar, publish
from .source import Source


def _nothing(found: Mapping[str, Results]) -> list[Picture]:
    return []


@dataclass(frozen=True)
class Ablations:
    """settings: by name. preset: what the user asked for. dry: only say what would run. draw: pictures of the study's own.

    Everything lies in a folder named after the preset and a fingerprint of all settings, so that no run touches the records or
    the report of another configuration.
    """

    title: str
    about: str
    preset: str
    settings: Mapping[str, Ablation]
    dry: bool = False
    draw: Callable[[Mapping[str, Results]], list[Picture]] = _nothing

    def folder(self, out: Path) -> Path:
        """Of this configuration."""
        return out / f"{self.preset}-{fingerprint(self.settings)}"

    def carry_out(self, out: Path, *, workers: int, fresh: bool, figure: Path | None, console: Console) -> Path | None:
        """Run what has no record, and write the reports; None where a run failed. Raises: Missing without the data's files."""
        folder = self.folder(out)
        if self.dry:
            self._plan(folder, console)
            return folder
        if fresh and folder.exists():
            shutil.rmtree(folder)
        start, failed = time.perf_counter(), False
        for source in (a.setting.data for a in self.settings.values()):
            if isinstance(source, Source):
                source.check()
        for name, ablation in self.settings.items():
            console.print(f"{self.title}, {name}")
            found = ablation.carry_out(folder / name, workers=workers, watcher=Bar(console))
            jobs, store = control(ablation, found), Store(folder / name / "records", dict)
            done = run_all(jobs, ablation.work(folder / name), store, workers=workers, watcher=Bar(console)) if jobs else []
            failed |= bool(found.failed) or any(d.record is None for d in done)
            read(folder / name).report(folder / name)
        written = self.found(out)
        if written is None:
            return None
        page = publish(*written, folder, figure, console)
        console.print(f"{page}  ({time.perf_counter() - start:.0f} s)")
        return None if failed else page

    def found(self, out: Path) -> tuple[Page, Together] | None:
        """The page of the records that are there."""
        folder = self.folder(out)
        there = {name: read(folder / name) for name in self.settings if any((folder / name / "records").glob("*.json"))}
        return (overview(self.title, self.about, there, self.draw(there)), Together(there)) if there else None

    def _plan(self, folder: Path, console: Console) -> None:
        seconds = 0.0
        for name, ablation in self.settings.items():
            price, plan = _seconds_a_pass(ablation), ablation.plan()
            for title, passes in plan:
                console.print(f"{name}: {title}, {passes} gradients")
            seconds += price * sum(passes for _, passes in plan)
        console.print(
            f"{seconds / 60:.0f} minutes of one process at the price of plain gradients; some geometries take longer."
        )
        console.print(f"Records and reports: {folder}")


def study(presets: Any, preset: str, asked: Options, dry: bool) -> Ablations:
    """An ablation for each rate of wrong labels, by default the one of the preset.

    presets: a module with TITLE and PRESETS; RATES by name where it is run at several, ``draw`` for pictures of its own.
    """
    protocol = named("preset", preset, presets.PRESETS)().asked(asked)
    about = f"{protocol.source}: {protocol.model} on {protocol.data.data}, {protocol.epochs} epochs, {protocol.seeds} seeds."
    rates = getattr(presets, "RATES", None) or {"clean" if not protocol.data.noise else "noisy": protocol.data.noise}
    settings = {name: protocol.ablation(noise=rate) for name, rate in list(rates.items())[: 1 if asked.quick else None]}
    return Ablations(presets.TITLE, about, preset, settings, dry, getattr(presets, "draw", _nothing))


def control(ablation: Ablation, found: Results) -> list[Run]:
    """Euclidean SAM at the radius and rate that Fisher SAM was tuned to, from every seed; none where its radius was given."""
    tuned = [record.result["tuned"] for record in found.records if record.result["method"] == FSAM]
    if CONTROL in dict(ablation.methods) or not tuned or not tuned[0] or "rho" not in tuned[0]["chosen"]:
        return []
    chosen = tuned[0]["chosen"]
    setting: Any = replace(ablation.setting, match=chosen["rho"])
    if "lr" in chosen:
        setting = replace(setting, optimizer=replace(setting.optimizer, lr=chosen["lr"]))
    method = Method(Euclidean(), rho=chosen["rho"])
    return [Run(CONTROL, method, seed, setting) for seed in ablation.seeds]


def _seconds_a_pass(ablation: Ablation) -> float:
    """Forward and backward on the first batch, the fastest of three."""
    setting = ablation.setting
    model, (x, y) = setting.model(0).to(setting.device), next(iter(setting.data(0).epoch(0)))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        setting.loss(model(x), y).backward()
        if torch.device(setting.device).type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)
