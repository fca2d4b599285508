"""Verdicts on pairs of methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from geosam.ablation.outcomes import Outcomes
from geosam.ablation.statistics import Rule, Verdict, differs

Judge = Callable[[Mapping[str, Sequence[float]], Rule], dict[str, Verdict]]
Pair = tuple[str, str]


def compared(found: Mapping[str, Outcomes], pairs: Sequence[Pair], rule: Rule, judge: Judge = differs) -> dict[str, Verdict]:
    """Each pair (a, b) in each setting, by a minus b at equal seed; Holm's correction is over all of them.

    A run that diverged, or has no record where the other has one, leaves its pair undecided in that setting: without it the
    method would look better than it is.
    """
    differences: dict[str, list[float]] = {}
    claims: dict[str, str] = {}
    lost: dict[str, str] = {}
    for setting, outcomes in found.items():
        scores = outcomes.scores(rule.score)
        for a, b in pairs:
            name = f"{setting}: {a} over {b}"
            mine, other = scores.get(a, {}), scores.get(b, {})
            seeds = sorted(mine.keys() & other.keys())
            values = [(mine[seed], other[seed]) for seed in seeds]
            differences[name] = [x - y for x, y in values if x is not None and y is not None]
            said = f"within ±{rule.margin:g} of" if judge is not differs else "better than"
            claims[name] = f"{setting}: {a} is {said} {b} in {rule.score}"
            if len(differences[name]) < len(values):
                lost[name] = f"{len(values) - len(differences[name])} of {len(values)} pairs diverged"
            elif single := sorted(mine.keys() ^ other.keys()):
                lost[name] = f"only one of the two has a record from seed {', '.join(map(str, single))}"
    verdicts = judge(differences, rule)
    for name, verdict in verdicts.items():
        verdicts[name] = replace(verdict, claim=claims[name])
        if name in lost:
            verdicts[name] = replace(verdicts[name], outcome="not decided", why=lost[name], seeds=None)
    return verdicts
