"""What the records of ``noise`` decide."""

from __future__ import annotations

from geosam.ablation.statistics import Rule, equivalent

from ..claims.claim import Claim, Found, Parts
from ..claims.compared import compared
from ..common.methods import ASAM, EQUAL, FSAM, NOISE, SAM

BETTER = Rule(score="accuracy")
COMPARABLE = Rule(score="accuracy", margin=0.005)  # the widest gap of FSAM and SAM in table 4 is 0.41 points


def table_4(found: Found) -> Parts:
    """Better than SGD and ASAM, and like SAM, at every rate."""
    better = compared(found, [(FSAM, EQUAL), (FSAM, ASAM)], BETTER)
    return {**better, **compared(found, [(FSAM, SAM)], COMPARABLE, equivalent)}


def noise_weighted(found: Found) -> Parts:
    """Against SAM, with an objective whose formula is that of a draft."""
    return compared(found, [(NOISE, SAM)], BETTER)


CLAIMS = (
    Claim("F16", "with wrong labels FSAM is like SAM, and better than SGD and ASAM", table_4),
    Claim("P2", "infoSAM generalises better than SAM with wrong labels (a draft's formula)", noise_weighted),
)
