"""The verdicts of an ablation, and its results as text."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace

from .outcomes import Outcomes
from .statistics import Rule, Verdict, differs, equivalent

LATER = "the rule was chosen after the runs"


def judged(outcomes: Outcomes, rule: Rule | None = None) -> dict[str, Verdict]:
    """See :meth:`geosam.ablation.Results.verdicts`."""
    fixed = rule is None or rule == outcomes.rule
    rule = rule or outcomes.rule
    if rule.against not in outcomes.methods:
        why = f"the reference {rule.against!r} has no record: there is nothing to compare with"
        return {name: Verdict(f"{name} against {rule.against}", "not decided", why) for name in outcomes.methods}
    differences = outcomes.differences(rule)
    found = (equivalent if rule.margin is not None else differs)(differences, rule)
    scores = outcomes.scores(rule.score)
    lost = {name: [s for s, value in scores[name].items() if value is None] for name in scores}
    missing = outcomes.missing()
    for name, verdict in found.items():
        kinds = {"diverged from": lost, "no record from": missing}
        whys = [f"{said} seed {_both(seeds, name, rule)}" for said, seeds in kinds.items() if _both(seeds, name, rule)]
        if whys:
            why = f"{', '.join(whys)}, here or in the reference; the others: {verdict.why}"
            found[name] = replace(verdict, outcome="not decided", why=why, seeds=None)
        if not fixed:
            found[name] = replace(found[name], why=f"{found[name].why}; {LATER}")
    return found


def _both(seeds: Mapping[str, list[int]], name: str, rule: Rule) -> str:
    return ", ".join(map(str, sorted({*seeds[name], *seeds[rule.against or ""]})))


def said(outcomes: Outcomes) -> str:
    """Scores by method, verdicts, and what failed."""
    score, lines = outcomes.rule.score, list[str]()
    if any(record.result["test"] is None for record in outcomes.records):
        return "no test data: nothing is compared. Give test=(x, y)"
    for name, by_seed in outcomes.scores(score).items():
        values = [v for v in by_seed.values() if v is not None]
        mean = f"{statistics.fmean(values):.4f}" if values else "–"
        spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        lost = len(by_seed) - len(values)
        lines.append(f"{name:32s} {score} {mean}{spread}  (n = {len(values)}{f', {lost} diverged' if lost else ''})")
    lines += [str(verdict) for verdict in judged(outcomes).values()]
    lines += [f"{title} failed: {error.strip().splitlines()[-1]}" for title, error in outcomes.failed.items()]
    return "\n".join(lines)
