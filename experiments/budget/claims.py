"""What the records of ``budget`` decide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from geosam.ablation.statistics import Rule

from ..claims.claim import Claim, Found, Parts
from ..claims.number import Judge, above, below, by_method, looks, only, rule_of
from ..common.methods import ASAM, FSAM, KL, SAM

RULE = Rule()


def drift(result: Mapping[str, Any]) -> float | None:
    """log₂ of largest over least KL of a run, from the first epoch with a radius on."""
    kls = looks(result, "kl")
    return math.log2(max(kls) / max(min(kls), 1e-300)) if kls else None


def probes(found: Found) -> Parts:
    """SAM and ASAM drift by more than the factor, FSAM by less."""
    return {**_judged(found, above, SAM, ASAM), **_judged(found, below, FSAM)}


def ball_of_kl(found: Found) -> Parts:
    """What is asked for is what is spent."""
    return _judged(found, below, KL)


def _judged(found: Found, judge: Judge, *names: str) -> Parts:
    if not found:
        return {}
    drifts, limit = only(by_method(found, drift), names), math.log2(rule_of(found, "look")["factor"])
    return judge({f"{name}: log2 of largest over least KL": values for name, values in drifts.items()}, limit, RULE)


CLAIMS = (
    Claim("F12", "SAM and ASAM probe too near or too far as training goes on, FSAM does not", probes),
    Claim("F12", "a ball of KL spends the same all along (ours)", ball_of_kl),
)
