"""What the records of ``finetune`` decide."""

from __future__ import annotations

from geosam.ablation.statistics import Rule

from ..claims.claim import Claim, Found, Parts
from ..claims.compared import compared
from ..common.methods import ASAM, FSAM, SAM, SGD

OVER = [(FSAM, SGD), (FSAM, SAM), (FSAM, ASAM)]


def first(found: Found) -> Parts:
    """Top-1."""
    return compared(found, OVER, Rule(score="accuracy"))


def five(found: Found) -> Parts:
    """Top-5."""
    return compared(found, OVER, Rule(score="top5"))


CLAIMS = (
    Claim("F14", "finetuning with FSAM is more accurate (top-1) than with SGD, SAM and ASAM", first),
    Claim("F14", "and so is top-5", five),
)
