"""A race of whole steps on one network, and all of them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace

import torch
from scipy import stats
from torch import nn

import geosam

from ..common.methods import ASAM, FSAM, MONGE, SAM, SGD, rows
from ..common.named import named
from ..common.sweep import Case, Sweep
from ..common.timing import DEVICE, PROCESS, Job, interleaved
from ..networks import known

AGAIN = "SAM again"
METHODS = (SGD, ASAM, FSAM, MONGE)


@dataclass(frozen=True)
class Race(Case):
    """Steps on one random batch, a step of every method a round, in another order each.

    limit, void: the rule. A method costs what SAM costs where the interval of its ratio lies below the limit; nothing is said
    where SAM differs from itself by more than void. rho: of no consequence for the time.
    """

    network: str
    shape: tuple[int, ...]
    batch: int
    rounds: int
    device: str = "cpu"
    seed: int = 0
    rho: float = 0.05
    limit: float = 1.05
    void: float = 0.02

    @property
    def title(self) -> str:
        """Network, batch and device."""
        return f"{self.network}, batch {self.batch}, {self.device}, {self.rounds} rounds"


PRESETS = {
    "small": (Race("digit_cnn", (1, 8, 8), 64, 61),),
    "medium": (Race("resnet20_narrow", (3, 32, 32), 32, 31), Race("vit_small", (3, 32, 32), 16, 31)),
    "wrn28-10": (Race("wrn28_10", (3, 32, 32), 128, 101),),
}


def timed(race: Race) -> dict[str, float]:
    """Median milliseconds of SAM, and of every method the median of its ratio to SAM, round by round, with its interval.

    The interval is that of order statistics: it holds the median of independent ratios with probability 0.95, whatever their
    distribution. Process time on a CPU, where other processes do not count; events on a device.
    """
    jobs, clock = _steps(race), DEVICE if torch.device(race.device).type == "cuda" else PROCESS
    by_clock, _ = interleaved(jobs, race.rounds, clock=clock)
    found = {"SAM ms": statistics.median(by_clock[SAM])}
    for name in (AGAIN, *METHODS):
        ratios = sorted(mine / sam for mine, sam in zip(by_clock[name], by_clock[SAM], strict=True))
        at = int(stats.binom.ppf(0.025, len(ratios), 0.5))
        found |= {name: statistics.median(ratios), f"{name} low": ratios[at - 1], f"{name} high": ratios[-at]}
    return found


def _steps(race: Race) -> list[Job]:
    """All on one model, whose weights stay where they are: no rate, and the same values again."""
    build = named("network", race.network, known.KNOWN)
    model = known.network(build, race.shape, 10, race.seed).to(race.device)
    generator = torch.Generator().manual_seed(race.seed)
    x = torch.randn(race.batch, *race.shape, generator=generator).to(race.device)
    y = torch.randint(10, (race.batch,), generator=generator).to(race.device)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)

    def job(name: str, method: geosam.ablation.Method) -> Job:
        base = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
        optimizer = base if method.metric is None else method.around(base, race.rho)
        return Job(name, lambda: optimizer.step(bound), base.zero_grad)  # type: ignore[arg-type]

    methods = rows((SAM, *METHODS))
    return [job(name, method) for name, method in {**methods, AGAIN: methods[SAM]}.items()]


def study(preset: str, rounds: int | None, device: str, quick: bool) -> Sweep:
    """The races of a preset."""
    races = [replace(r, device=device, rounds=rounds or r.rounds) for r in named("preset", preset, PRESETS)]
    about = "A step of each method over a step of SAM in the same round: medians, and 95 % intervals of order statistics."
    return Sweep("What a step costs", about, [replace(races[0], rounds=7)] if quick else races, timed, (AGAIN, *METHODS))
