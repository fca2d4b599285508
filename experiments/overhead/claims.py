"""What the records of ``overhead`` decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geosam.ablation.statistics import Verdict

from ..claims.claim import Claim, Found, Parts
from ..common.methods import FSAM, MONGE
from .study import AGAIN


def fisher_sam(found: Found) -> Parts:
    """In every race."""
    return _each(found, FSAM)


def monge_sam(found: Found) -> Parts:
    """In every race."""
    return _each(found, MONGE)


def _each(found: Found, name: str) -> Parts:
    records = [record for outcomes in found.values() for record in outcomes.records]
    return {record.title: _judged(name, record.title, record.config, record.result) for record in records}


def _judged(name: str, title: str, race: Mapping[str, Any], numbers: Mapping[str, float]) -> Verdict:
    claim, low, high = f"{title}: {name} over SAM below {race['limit']:g}", numbers[f"{name} low"], numbers[f"{name} high"]
    why = f"{numbers[name]:.4f}, 95 % [{low:.4f}, {high:.4f}]; SAM over itself {numbers[AGAIN]:.4f}"
    if abs(numbers[AGAIN] - 1) > race["void"]:
        return Verdict(claim, "not decided", f"{why}: the clock is too coarse, or the machine too busy")
    return Verdict(claim, "holds" if high < race["limit"] else "fails" if low > race["limit"] else "not decided", why)


CLAIMS = (
    Claim("F18", "a step of Fisher SAM costs what a step of SAM costs (1.005 in the paper)", fisher_sam),
    Claim("M1", "a step of Monge SAM costs what a step of SAM costs", monge_sam),
)
