"""Kill a small ablation, tuning included, again and again at random moments; its records must be those of one left alone.

``python tests/stories/killed.py [TIMES]``: 50 by default. A short form of it is a test.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def study(folder: Path) -> None:
    """Six runs and four trials, a checkpoint an epoch."""
    import torch
    from torch import nn

    import geosam
    from geosam.ablation import Choice, Tuned
    from geosam.records import Watcher

    class Quiet(Watcher):
        def say(self, text: str) -> None:
            pass

    def model(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.1), nn.Tanh(), nn.Linear(8, 2))

    class Fixed(Tuned):
        """Without Optuna: the values in turn."""

        def suggest(self, space, tried):
            return {"rho": (0.02, 0.1)[len(tried) % 2]}

    x = torch.randn(96, 5, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] * x[:, 1] > 0).long()
    methods: dict[str, Any] = {"SGD": None, "SAM": geosam.metrics.Euclidean()}
    methods |= {"smoothed": (geosam.metrics.Monge(), geosam.objectives.Smoothed(0.9))}
    match = Fixed(trials=2, rho=Choice((0.02, 0.1)))
    settings = {"epochs": 4, "warmup": 1, "batch": 16, "match": match, "test": (x[64:], y[64:]), "validation": 0.25}
    geosam.ablate(model, (x[:64], y[:64]), methods, seeds=range(2), folder=folder, checkpoint=0.0, watcher=Quiet(), **settings)


def numbers(folder: Path) -> dict[str, str]:
    """Every record and trial without what time, place and interruptions change."""
    found = {}
    for path in [*folder.glob("records/*.json"), *folder.glob("trials/*.json")]:
        record = json.loads(path.read_text())
        del record["seconds"], record["provenance"], record["result"]["peak_bytes"]
        record["result"].pop("seconds", None)  # a trial's has none
        found[f"{path.parent.name}/{path.name}"] = json.dumps(record)
    return found


def forked(act: Callable[..., None], *arguments: Any) -> int:
    """A process that does this and ends, and has all that this one has imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's idle threads are not forked, and not needed
        child = os.fork()
    if child == 0:
        try:
            act(*arguments)
        finally:
            os._exit(0)
    return child


def killed(folder: Path, times: int, draw: random.Random, most: float) -> int:
    """Start the study and kill it, so often, each time up to ``most`` seconds into its training; how often it was reached.

    A kill that finds it finished is drawn again from an empty folder, whose numbers must be the same.
    """
    hit = 0
    while hit < times:
        child = forked(study, folder)
        time.sleep(draw.uniform(0, most))
        os.kill(child, signal.SIGKILL)
        if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            return hit
        hit += 1
    return hit


def compared(times: int, most: float, seed: int) -> tuple[int, int]:
    """Kills, and records compared. Raises: AssertionError where a number differs."""
    draw, hit = random.Random(seed), 0
    with tempfile.TemporaryDirectory() as root:
        alone = Path(root) / "alone"
        study(alone)
        expected = numbers(alone)
        rounds = 0
        while hit < times:
            folder = Path(root) / f"killed-{rounds}"
            hit, rounds = hit + killed(folder, times - hit, draw, most), rounds + 1
            study(folder)  # to its end, whatever was left
            found = numbers(folder)
            assert found == expected, {name for name in expected if found.get(name) != expected[name]}
            assert not list(folder.glob("checkpoints/*.pt"))
        return hit, rounds * len(expected)


if __name__ == "__main__":
    kills, records = compared(int(sys.argv[1]) if len(sys.argv) > 1 else 50, 0.8, 0)
    print(f"{kills} kills, {records} records compared: all as of runs left alone")
