"""Verdicts on paired differences: holds, fails, or not decided with what a decision would take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .interval import Interval, Numbers, interval, p_value
from .power import detectable, equivalence_seeds, seeds_needed
from .rule import Rule

HOLDS, FAILS, OPEN = "holds", "fails", "not decided"
_TIES = "all differences are equal, so that there is no spread to go by: a sign test"


@dataclass(frozen=True)
class Verdict:
    """claim: in words. outcome: "holds", "fails" or "not decided". why: the numbers in words.

    interval: of the mean difference, 95 % at level 0.05, of this method alone; None with fewer than two pairs. p: of no
    difference; adjusted: Holm's, over all methods, which decides. detectable: the difference that so many pairs detect at
    the rule's power, at level / methods; None where all differences are equal. seeds: what a decision would take, were the
    mean as it was seen; None where it is decided or out of reach.
    """

    claim: str
    outcome: str
    why: str
    interval: Interval | None = None
    p: float | None = None
    adjusted: float | None = None
    detectable: float | None = None
    seeds: int | None = None

    def __str__(self) -> str:
        return f"{self.outcome}: {self.claim} ({self.why})"


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values: the k-th smallest of m times m − k + 1, never below a smaller one's."""
    adjusted, highest = {}, 0.0
    for k, name in enumerate(sorted(p, key=lambda name: p[name])):
        highest = max(highest, min(1.0, p[name] * (len(p) - k)))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p}


def differs(differences: Mapping[str, Numbers], rule: Rule) -> dict[str, Verdict]:
    """Of each method: "it is better than the reference". Holds, or fails (it is worse), where Holm's p is below the level."""
    usable = {name: d for name, d in differences.items() if len(d) > 1}
    p = {name: p_value(d, rule) for name, d in usable.items()}
    adjusted = holm(p)
    found = {}
    for name, d in differences.items():
        claim = f"{name} is better than {rule.against or 'the reference'} in {rule.score}"
        if name not in usable:
            found[name] = Verdict(claim, OPEN, f"{len(d)} pairs of runs: two or more are needed")
            continue
        at = interval(d, 1 - rule.level, rule)
        better = at.mean > 0 if rule.larger else at.mean < 0
        outcome = OPEN if adjusted[name] >= rule.level else HOLDS if better else FAILS
        found[name] = _verdict(claim, outcome, at, p[name], adjusted[name], rule, len(usable))
    return found


def equivalent(differences: Mapping[str, Numbers], rule: Rule) -> dict[str, Verdict]:
    """Of each method: "it makes no difference", by two one-sided tests.

    Holds where the interval of confidence 1 − 2 level (90 %) lies within ± margin; else fails where 0 is left out by the one
    of 1 − level (95 %), by Holm's p where there are several methods; else it is not decided. A true difference
    inside the margin but not 0 makes both verdicts true, and with many seeds it comes out as "holds". Equal differences have
    no spread, and an interval of no length: they hold where the sign test, 2^(−n) a side, is below the level too.
    Source: Schuirmann 1987.
    """
    if rule.margin is None:
        raise ValueError("equivalence is within a margin, and the rule has none: Rule(margin=...), fixed before the run")
    found = differs(differences, rule)
    for name, seen in found.items():
        claim = f"{name} is within ±{rule.margin:g} of {rule.against or 'the reference'} in {rule.score}"
        if seen.interval is None:
            found[name] = Verdict(claim, OPEN, seen.why)
            continue
        inner = interval(differences[name], 1 - 2 * rule.level, rule)
        within = -rule.margin < inner.low and inner.high < rule.margin and (inner.sd > 0 or 0.5**inner.n < rule.level)
        outcome = HOLDS if within else OPEN if seen.outcome == OPEN else FAILS
        seeds = equivalence_seeds(rule.margin, inner.sd, rule.level, rule.power) if outcome == OPEN and inner.sd else None
        why = f"{inner.mean:+.4g}, {_spelled(inner)}, {_spelled(seen.interval)}, n = {inner.n}"
        why += f"; about {seeds} seeds would show that there is none" if seeds else ""
        why += f"; {_TIES}" if not inner.sd else ""
        found[name] = Verdict(claim, outcome, why, seen.interval, seen.p, seen.adjusted, seen.detectable, seeds)
    return found


def together(claim: str, verdicts: Mapping[str, Verdict]) -> Verdict:
    """That all of them hold. Fails where one fails; not decided where one is not, or where there is none."""
    outcomes = [v.outcome for v in verdicts.values()]
    outcome = FAILS if FAILS in outcomes else OPEN if OPEN in outcomes or not outcomes else HOLDS
    seeds = [v.seeds for v in verdicts.values() if v.seeds is not None]
    counted = ", ".join(f"{outcomes.count(kind)} {kind}" for kind in (HOLDS, FAILS, OPEN) if kind in outcomes)
    return Verdict(claim, outcome, counted or "no comparison", seeds=max(seeds, default=None))


def _verdict(claim: str, outcome: str, at: Interval, p: float, adjusted: float, rule: Rule, methods: int) -> Verdict:
    strict = rule.level / methods
    least = detectable(at.sd, at.n, strict, rule.power) if at.sd else None
    seeds = seeds_needed(at.mean, at.sd, strict, rule.power) if outcome == OPEN and at.sd else None
    why = f"{at.mean:+.4g}, {_spelled(at)}, n = {at.n}, p = {p:.2g}, of {methods} together {adjusted:.2g}"
    if not at.sd:
        why += f"; {_TIES}"
    elif outcome == OPEN:
        why += f"; detectable: ±{least:.2g}"
        why += f"; at this mean about {seeds} seeds would decide" if seeds else "; no number of seeds decides at this mean"
    return Verdict(claim, outcome, why, at, p, adjusted, least, seeds)


def _spelled(at: Interval) -> str:
    return f"{100 * at.level:g} % [{at.low:+.4g}, {at.high:+.4g}]"
