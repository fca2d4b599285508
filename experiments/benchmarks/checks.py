"""What verifying rows costs: a whole step on batches that are verified, or might be, over one on a batch that is not."""

from __future__ import annotations

from typing import Any

from torch import nn

import geosam
from geosam import metrics
from geosam.engines.schedule import FIRST, SHARE
from geosam.problem import Problem

from ..common.timing import Target, race
from .fisher_cost import CASES, SGD, Case, stepping
from .memory import RHO

ALLOCATORS = ("pinned",)
ROWS: tuple[geosam.Metric, ...] = (metrics.EmpiricalFisher(), metrics.DiagonalEmpiricalFisher())
LIMIT = 1.02
"""On the mean step of a long training with the default checks, over a step without any."""


def run(quick: bool, allocator: str) -> dict[str, Any]:
    """A race a network and metric, and the mean price of the default checks.

    sampled: after the first batches, a step in which a check might have been due. always: one that is verified.
    """
    settings = {"base": {"class": "SGD", **SGD}, "rho": RHO, "first": FIRST, "share": SHARE}
    result: dict[str, Any] = {"settings": settings}
    prices = {}
    for case in CASES:
        for metric in ROWS:
            name = f"{case.name}, {type(metric).__name__}"
            raced = result[name] = _race(case, metric, 2 if quick else 21)
            price = _price(raced["jobs"]["sampled"]["ratio"], raced["jobs"]["always"]["ratio"])
            prices[name] = {"mean step": round(price, 4), "limit": LIMIT, "met": price <= LIMIT}
    result["with the default checks over none"] = prices
    return result


def _price(sampled: float, always: float) -> float:
    """The mean of both kinds of steps."""
    return (1 - SHARE) * sampled + SHARE * always


def _race(case: Case, metric: geosam.Metric, rounds: int) -> dict[str, Any]:
    model, x, y = case.make()
    jobs = {
        check: stepping(check, model, metric, Problem(model, nn.CrossEntropyLoss(), check=check).on(x, y))
        for check in ("first", "sampled", "always")
    }
    floor = jobs.pop("first")
    return race(floor, list(jobs.values()), rounds, [Target("sampled", LIMIT)], warmup=FIRST + 1)
