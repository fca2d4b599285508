"""What the records of ``classify`` decide."""

from __future__ import annotations

from geosam.ablation.statistics import Rule, equivalent

from ..claims.claim import Claim, Found, Parts
from ..claims.compared import compared
from ..common.methods import ASAM, CONTROL, EQUAL, FSAM, PLAIN, SAM

BETTER = Rule(score="accuracy")
SAME = Rule(score="accuracy", margin=0.001)


def same_as_sam(found: Found) -> Parts:
    """FSAM and Euclidean SAM at the same γ and rate."""
    return compared(found, [(FSAM, CONTROL)], SAME, equivalent)


def better_than_plain(found: Found) -> Parts:
    """η = 1 beside 1, against a small damping."""
    return compared(found, [(FSAM, PLAIN)], BETTER)


def table_1(found: Found) -> Parts:
    """SGD has twice the epochs there."""
    return compared(found, [(SAM, EQUAL), (ASAM, EQUAL), (FSAM, SAM), (FSAM, ASAM)], BETTER)


CLAIMS = (
    Claim("F10", "with η = 1 Fisher SAM is in effect SAM at the same γ (ours)", same_as_sam),
    Claim("F10", "1/(1 + ηf) works better than a plain regulariser", better_than_plain),
    Claim("F13", "SGD < SAM, ASAM < FSAM in accuracy, SGD with twice the epochs", table_1),
)
