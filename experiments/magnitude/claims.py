"""What the records of ``magnitude`` decide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from geosam.ablation.statistics import Rule, equivalent

from ..claims.claim import Claim, Found, Parts
from ..claims.compared import compared
from ..claims.number import above, below, by_method, looks, only, rule_of
from ..common.methods import DIAGONAL, SAM
from .presets import MAGNITUDE, RULE


def stands_in(found: Found) -> Parts:
    """Directions and scale at every epoch of SAM's training, and accuracy at equal KL."""
    if not found:
        return {}
    rule = rule_of(found, "look")

    def along(number: Any, words: str) -> dict[str, Any]:
        return {words: only(by_method(found, number), [SAM])[SAM]}

    cosines = {
        **along(lambda r: _least(r, "direction"), "least cosine of the diagonals"),
        **along(lambda r: _least(r, "epsilon"), "least cosine of the two ε*"),
    }
    ratios = {
        **along(lambda r: _furthest(r, "scale"), "log2 of the ratio of totals, furthest from 0,"),
        **along(lambda r: _furthest(r, "fisher"), "log2 of the ratio of εᵀFε, furthest from 0,"),
    }
    accuracy = compared(found, [(MAGNITUDE, DIAGONAL)], RULE, equivalent)
    return {**above(cosines, rule["least"], Rule()), **below(ratios, math.log2(rule["factor"]), Rule()), **accuracy}


def _least(result: Mapping[str, Any], key: str) -> float | None:
    return min(looks(result, key), default=None)


def _furthest(result: Mapping[str, Any], key: str) -> float | None:
    return max((abs(math.log2(value)) for value in looks(result, key)), default=None)


CLAIMS = (Claim("F11", "the squared batch gradient stands in for the per-sample diagonal", stands_in),)
