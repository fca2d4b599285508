"""Verdicts on a number a run, set against a limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from geosam.ablation.statistics import Rule, Verdict, interval

from .claim import Found

Numbers = Mapping[str, Sequence[float]]
Judge = Callable[[Numbers, float, Rule], dict[str, Verdict]]


def above(numbers: Numbers, limit: float, rule: Rule) -> dict[str, Verdict]:
    """Of each name: "its mean over runs lies above the limit", by the interval of confidence 1 − level for so many names.

    Bonferroni: each interval has 1 − level/names. Holds where it lies above, fails where below, else it is not decided.
    """
    return {name: _judged(name, values, limit, rule, len(numbers), True) for name, values in numbers.items()}


def below(numbers: Numbers, limit: float, rule: Rule) -> dict[str, Verdict]:
    """The contrary."""
    return {name: _judged(name, values, limit, rule, len(numbers), False) for name, values in numbers.items()}


def _judged(name: str, values: Sequence[float], limit: float, rule: Rule, names: int, over: bool) -> Verdict:
    claim = f"{name} is {'above' if over else 'below'} {limit:g}"
    if len(values) < 2:
        return Verdict(claim, "not decided", f"{len(values)} runs: two or more are needed")
    at = interval(values, 1 - rule.level / names, rule)
    outcome = "not decided"
    spread = at.sd > 0 or 0.5 ** (at.n - 1) < rule.level / names  # equal values: a sign test
    if spread and (at.low > limit or at.high < limit):
        outcome = "holds" if (at.low > limit) == over else "fails"
    why = f"{at.mean:.4g}, {100 * at.level:.4g} % [{at.low:.4g}, {at.high:.4g}], n = {at.n}"
    return Verdict(claim, outcome, why, at)


def by_method(found: Found, number: Callable[[Mapping[str, Any]], float | None]) -> dict[str, list[float]]:
    """number: a run's result ↦ what is judged, None where it has none. By method, over seeds; settings apart."""
    several, values = len(found) > 1, dict[str, list[float]]()
    for setting, outcomes in found.items():
        for record in outcomes.records:
            value = number(record.result)
            if value is not None:
                name = f"{setting}: {record.result['method']}" if several else record.result["method"]
                values.setdefault(name, []).append(value)
    return values


def looks(result: Mapping[str, Any], key: str) -> list[float]:
    """What was looked at after every epoch, under this key."""
    return [epoch["look"][key] for epoch in result["epochs"] if key in epoch.get("look", {})]


def rule_of(found: Found, part: str) -> Mapping[str, Any]:
    """The settings of what was looked at or scored (``part``), with its limits, as the records hold them; {} without any."""
    records = [record for outcomes in found.values() for record in outcomes.records]
    held = {str(record.config["setting"][part]): record.config["setting"][part] for record in records}
    if len(held) > 1:
        raise ValueError(f"these records were made under {len(held)} rules: keep a folder for each")
    return next(iter(held.values()), {})


def only(numbers: Numbers, names: Sequence[str]) -> dict[str, Sequence[float]]:
    """Those of these names; one that is missing has no run."""
    return {name: numbers.get(name, ()) for name in names}
