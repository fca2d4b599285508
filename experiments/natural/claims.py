"""What the records of ``natural`` decide. The paper claims nothing here: it names what could be tried."""

from __future__ import annotations

from geosam.ablation.statistics import Rule

from ..claims.claim import Claim, Found, Parts
from ..claims.compared import compared
from ..common.methods import SAM
from .presets import EACH, PAIRS, PROXIMAL

BETTER = Rule(score="accuracy")


def natural(found: Found) -> Parts:
    """Each method with it over the same without."""
    return compared(found, PAIRS, BETTER)


def each_part(found: Found) -> Parts:
    """m-sharpness."""
    return compared(found, [(EACH, SAM)], BETTER)


def proximal(found: Found) -> Parts:
    """Unnormalised."""
    return compared(found, [(PROXIMAL, SAM)], BETTER)


CLAIMS = (
    Claim("F19", "the natural gradient improves SGD, SAM and Fisher SAM (asked in footnote 3)", natural),
    Claim("F19", "an ε a micro-batch (m-sharpness) improves SAM (section 5)", each_part),
    Claim("F19", "the proximal ε = ρ♯g improves SAM (asked in section 6)", proximal),
)
