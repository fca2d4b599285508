"""What verifying rows costs: the mean step with the default checks over a step without any.

A batch is verified or it is not. One that is not takes the operations of a step without checks, which is counted, because the
clock cannot tell them apart: two equal jobs differ by 1 to 5 % on a shared machine. One that is takes half a step more or so,
which is timed; as few batches are verified, an error e of that ratio is one of SHARE · e in the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import geosam
from geosam import metrics
from geosam.engines.schedule import FIRST, SHARE
from geosam.problem import Problem

from ..common.timing import Job, race
from .fisher_cost import CASES, SGD, Case, stepping
from .memory import RHO

ALLOCATORS = ("pinned",)
ROWS: tuple[geosam.Metric, ...] = (metrics.EmpiricalFisher(), metrics.DiagonalEmpiricalFisher())
LIMIT = 1.02
"""On the mean step of a long training with the default checks, over a step without any."""
VOID = 0.1
"""A/A: an error of 0.0015 in the mean."""


def run(quick: bool, allocator: str) -> dict[str, Any]:
    """A race a network and metric, and the mean price of the default checks."""
    settings = {"base": {"class": "SGD", **SGD}, "rho": RHO, "first": FIRST, "share": SHARE}
    result: dict[str, Any] = {"settings": settings}
    prices = {}
    for case in CASES[: 1 if quick else None]:
        for metric in ROWS:
            name = f"{case.name}, {type(metric).__name__}"
            jobs = _jobs(case, metric)
            result[name] = raced = race(jobs["first"], [jobs["always"]], 2 if quick else 21, warmup=FIRST + 1, void=VOID)
            prices[name] = {**price(raced["jobs"]["always"]["ratio"], raced["aa_difference"]), **_counts(jobs)}
    result["with the default checks over none"] = prices
    return result


def price(verified: float, error: float) -> dict[str, Any]:
    """Of the mean step, where a verified one costs ``verified`` steps with this relative error."""
    mean = 1 + SHARE * (verified - 1)
    return {"mean step": round(mean, 4), "error": round(SHARE * error, 4), "limit": LIMIT, "met": mean <= LIMIT}


def _jobs(case: Case, metric: geosam.Metric) -> dict[str, Job]:
    """Steps with these checks on one batch."""
    model, x, y = case.make()
    loss = nn.CrossEntropyLoss()
    return {
        check: stepping(check, model, metric, Problem(model, loss, check=check).on(x, y))
        for check in ("first", "sampled", "always")
    }


def _counts(jobs: dict[str, Job]) -> dict[str, int]:
    """Operations of a step with each kind of check: the fewest of four, so that none of the sampled ones is verified."""
    counts = {}
    for name, job in jobs.items():
        for _ in range(FIRST + 1 if name == "sampled" else 1):
            job.run()
        counts[f"operations, {name}"] = min(operations(job.run) for _ in range(4))
    return counts


def operations(run: Callable[[], Any]) -> int:
    """Operations of torch in a run."""
    with _Counting() as counting:
        run()
    return counting.found


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found += 1
        return func(*args, **(kwargs or {}))
