"""What the records of ``perturb`` decide."""

from __future__ import annotations

from geosam.ablation.statistics import Rule

from ..claims.claim import Claim, Found, Parts
from ..claims.compared import compared
from ..claims.number import below, by_method, only, rule_of
from ..common.methods import CONTROL, EQUAL, FSAM, SAM

DIRECTION = "adversarial, Euclidean"
BETTER = Rule(score=f"{DIRECTION}, area")


def degrades_least(found: Found) -> Parts:
    """Mean accuracy over α, against SGD and SAM."""
    return compared(found, [(FSAM, EQUAL), (FSAM, SAM)], BETTER)


def by_radius(found: Found) -> Parts:
    """Against SAM at the same γ."""
    return compared(found, [(FSAM, CONTROL)], BETTER)


def nonsensical(found: Found) -> Parts:
    """At the largest α nothing is left of what was learned."""
    if not found:
        return {}
    rule = rule_of(found, "score")
    key = f"{DIRECTION}, α {max(rule['alphas']):g}"
    accuracy = only(by_method(found, lambda result: result["test"][key]), (EQUAL, SAM, FSAM))
    return below({f"{name}: accuracy at {key}": v for name, v in accuracy.items()}, rule["chance"] + rule["near"], Rule())


CLAIMS = (
    Claim("F15", "FSAM loses least accuracy where weights are moved along the gradient, of SGD, SAM and FSAM", degrades_least),
    Claim("F15", "it does so beyond SAM at the same γ (ours: what the paper does not compare)", by_radius),
    Claim("F15", "at α = 5 every method is at chance", nonsensical),
)
