"""What the records of ``sensitivity`` decide."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import product

from geosam.ablation.outcomes import Outcomes
from geosam.ablation.statistics import Rule, differs, equivalent

from ..claims.claim import Claim, Found, Parts
from ..claims.compared import compared
from ..claims.number import below, by_method, looks, only, rule_of
from .presets import ETAS, GAMMAS, REFERENCE, cell

BETTER = Rule(score="accuracy")
FLAT = Rule(score="accuracy", margin=0.01)  # figure 5 does not show less than a point
LARGE, BEST = 1.0, (0.1, 0.5)
MODERATE = (1e-2, 1e-1, 1.0)


def insensitive(found: Found) -> Parts:
    """Every cell but those of γ = 1 is within a point of the paper's own choice, and those are worse."""
    small = [cell(g, e) for g, e in product(GAMMAS, ETAS) if g < LARGE and cell(g, e) != REFERENCE]
    flat = compared(found, [(name, REFERENCE) for name in small], FLAT, equivalent)
    return {**flat, **compared(found, [(REFERENCE, cell(LARGE, e)) for e in ETAS], BETTER)}


def best(found: Found) -> Parts:
    """Means over cells, paired by seed: γ at moderate η, and η at such γ."""
    (outcomes,) = found.values() or (Outcomes((), {}, 0),)
    inner = list(product(BEST, MODERATE))
    gammas = [(g, e) for g, e in product(GAMMAS, MODERATE) if g not in BEST]
    etas = [(g, e) for g, e in product(BEST, ETAS) if e not in MODERATE]
    differences = {
        "γ of 0.1 and 0.5, against the others at η of 0.01 to 1,": _means(outcomes, inner, gammas),
        "η of 0.01 to 1, against the others at γ of 0.1 and 0.5,": _means(outcomes, inner, etas),
    }
    return differs(differences, BETTER) if found else {}


def in_effect_sam(found: Found) -> Parts:
    """1 − cos to SAM's ε* stays below the limit in every epoch."""
    gaps = by_method(found, lambda result: max(looks(result, "gap"), default=None))
    limit = rule_of(found, "look").get("limit", 1e-3)
    cells = only(gaps, [cell(g, e) for g, e in product(GAMMAS, ETAS) if e <= 1.0])
    return below({f"{name}: largest 1 − cos": values for name, values in cells.items()}, limit, Rule()) if found else {}


def _means(outcomes: Outcomes, cells: Sequence[tuple[float, float]], others: Sequence[tuple[float, float]]) -> list[float]:
    """By seed, the mean accuracy of the one minus that of the others; a seed from which a run is lost is left out."""
    scores = outcomes.scores("accuracy")
    seeds = sorted({seed for by_seed in scores.values() for seed in by_seed})

    def mean(chosen: Sequence[tuple[float, float]], seed: int) -> float | None:
        values = [scores.get(cell(*at), {}).get(seed) for at in chosen]
        known = [v for v in values if v is not None]
        return statistics.fmean(known) if len(known) == len(values) else None

    pairs = [(mean(cells, seed), mean(others, seed)) for seed in seeds]
    return [a - b for a, b in pairs if a is not None and b is not None]


CLAIMS = (
    Claim("F17", "Fisher SAM hardly depends on γ and η, but for γ = 1, which is worse", insensitive),
    Claim("F17", "it is best for γ of 0.1 to 0.5 and η of 0.01 to 1", best),
    Claim("F17", "up to η = 1 its ε* is SAM's at the same γ, which is why η does not matter (ours, by F10)", in_effect_sam),
)
