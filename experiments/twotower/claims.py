"""What the records of ``twotower`` decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from geosam.ablation.statistics import Rule, Verdict, differs

from ..claims.claim import Claim, Found, Parts
from ..claims.number import above
from ..common.methods import ASAM, MONGE, SAM, SGD
from .presets import GRID, MIDDLE, cell

CHANCE = 0.01
"""Of a run that diverged: one of 100 candidates."""
LESS = Rule(score="accuracy lost over the grid")
BETTER = Rule(score="accuracy")


def robust(found: Found) -> Parts:
    """Lost over the grid, by seed: its best accuracy less its mean. Monge loses less than SAM, and than ASAM."""
    lost = {name: _lost(found, name) for name in (MONGE, SAM, ASAM)}
    pairs = {f"{MONGE} against {other}": _less(lost[other], lost[MONGE]) for other in (SAM, ASAM)}
    return _named(differs(pairs, LESS), "loses less accuracy over the grid of radii") if found else {}


def works(found: Found) -> Parts:
    """Where no likelihood is known and samples meet in the loss: it finds ten times what chance does."""
    scores = _scores(found, cell(MONGE, MIDDLE))
    return above({f"accuracy of {cell(MONGE, MIDDLE)}": list(scores.values())}, 10 * CHANCE, BETTER) if found else {}


def helps(found: Found) -> Parts:
    """More accurate than SGD with the same number of steps."""
    pairs = {f"{cell(MONGE, MIDDLE)} against {SGD}": _less(_scores(found, cell(MONGE, MIDDLE)), _scores(found, SGD))}
    return _named(differs(pairs, BETTER), "is more accurate") if found else {}


def _scores(found: Found, method: str) -> dict[int, float]:
    each = (outcomes.scores("accuracy").get(method, {}) for outcomes in found.values())
    return {seed: CHANCE if value is None else value for scores in each for seed, value in scores.items()}


def _lost(found: Found, name: str) -> dict[int, float]:
    by_radius = [_scores(found, cell(name, rho)) for rho in GRID]
    seeds = set.intersection(*(set(scores) for scores in by_radius))
    return {s: max(at[s] for at in by_radius) - sum(at[s] for at in by_radius) / len(GRID) for s in seeds}


def _less(a: Mapping[int, float], b: Mapping[int, float]) -> list[float]:
    return [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]


def _named(verdicts: Mapping[str, Verdict], what: str) -> Parts:
    return {name: replace(verdict, claim=f"{name}: {what}") for name, verdict in verdicts.items()}


CLAIMS = (
    Claim("M5", "Monge SAM depends less on the number ρ than SAM and ASAM, whose ε is longer at the same ρ", robust),
    Claim("M5", "Monge SAM works where there is no likelihood and samples meet in the loss", works),
    Claim("M5", "it improves a contrastive alignment over SGD", helps),
)
