"""The records of an ablation, and what is compared: scores at equal seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..records import Record
from .statistics import Rule

Scores = dict[str, dict[int, float | None]]
"""method ↦ seed ↦ the score on the test data; None where the run diverged."""


@dataclass(frozen=True)
class Outcomes:
    """records: a run each. failed: title ↦ traceback of the runs without one. total: runs that were asked for."""

    records: Sequence[Record[dict[str, Any]]]
    failed: Mapping[str, str]
    total: int

    @property
    def methods(self) -> list[str]:
        """Those that have a record."""
        return list(dict.fromkeys(record.result["method"] for record in self.records))

    @property
    def rule(self) -> Rule:
        """The one that was fixed before the runs. Raises: ValueError where they had different ones."""
        rules = {str(record.config["setting"]["rule"]): record.config["setting"]["rule"] for record in self.records}
        if len(rules) != 1:
            raise ValueError(f"these records were made under {len(rules)} rules: keep a folder for each")
        (found,) = rules.values()
        return Rule(**{key: value for key, value in found.items() if key != "type"})

    def scores(self, score: str) -> Scores:
        """On the test data."""
        found: Scores = {name: {} for name in self.methods}
        for record in self.records:
            result = record.result
            if result["test"] is None:
                raise ValueError("these runs had no test data: give test=(x, y)")
            if score not in result["test"]:
                raise ValueError(f"no score {score!r} in the records; there are {', '.join(result['test'])}")
            found[result["method"]][record.seed] = None if result["diverged"] else result["test"][score]
        return found

    def missing(self) -> dict[str, list[int]]:
        """method ↦ the seeds from which others have a record, and it has none."""
        seeds = {name: {r.seed for r in self.records if r.result["method"] == name} for name in self.methods}
        return {name: sorted(set().union(*seeds.values()) - own) for name, own in seeds.items()}

    def differences(self, rule: Rule) -> dict[str, list[float]]:
        """method ↦ its score minus the reference's at equal seed, over the seeds from which both came through."""
        scores = self.scores(rule.score)
        if rule.against not in scores:
            raise ValueError(f"the reference {rule.against!r} has no record: there is nothing to compare with")
        reference = scores.pop(rule.against)
        found: dict[str, list[float]] = {}
        for name, mine in scores.items():
            pairs = [(mine[seed], reference.get(seed)) for seed in sorted(mine)]
            found[name] = [a - b for a, b in pairs if a is not None and b is not None]
        return found
