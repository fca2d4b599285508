"""The page of a study of ablations: a panel a setting, and every method's numbers."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from geosam.ablation import Results
from geosam.ablation.report import QUIET, Note, Page, Picture, Section, Shown, Table

WORDS = "Paired differences to {against} in points of {score}: mean and 95 % interval. {side} of the line is worse."


def overview(title: str, about: str, found: Mapping[str, Results], pictures: Sequence[Picture] = ()) -> Page:
    """Of a study of ablations. found: by setting; each has a page of its own in a folder of that name. pictures: its own."""
    rule = next(iter(found.values())).outcomes.rule
    words = WORDS.format(against=rule.against, score=rule.score, side="Left" if rule.larger else "Right")
    sections = [Section(name, [_table(name, results)]) for name, results in found.items()]
    shown, scores = [*pictures, Picture("overview", words, partial(_panels, found))], _scores(found, rule.score)
    also = [Section("Differences", shown[1:])] if pictures else []
    return Page(title, about[:1].upper() + about[1:], shown[0], scores, _outcomes(found), [*also, *sections])


def _outcomes(found: Mapping[str, Results]) -> Note:
    """How many comparisons were decided how."""
    rule = next(iter(found.values())).outcomes.rule
    count = Counter(verdict.outcome for results in found.values() for verdict in results.verdicts().values())
    asked = f"within ±{rule.margin:g} of" if rule.margin is not None else "better than"
    told = ", ".join(f"{outcome} for {number}" for outcome, number in count.items())
    return Note(
        f"“{asked.capitalize()} {rule.against} in {rule.score}”: {told}", ["Methods and settings, by Holm’s p in each setting."]
    )


class Together:
    """The records of all settings, as a report asks for them."""

    def __init__(self, found: Mapping[str, Shown]) -> None:
        self.records = [record for each in found.values() for record in each.records]
        self.failed = [f"{name}: {title}" for name, each in found.items() for title in each.failed]


def _panels(found: Mapping[str, Results]) -> Figure:
    names = list(dict.fromkeys(name for results in found.values() for name in results.verdicts()))
    figure = Figure(figsize=(2.6 * len(found) + 2.4, 0.3 * len(names) + 1.3))
    for axes, (setting, results) in zip(
        figure.subplots(1, len(found), sharey=True, squeeze=False)[0], found.items(), strict=True
    ):
        for row, name in enumerate(names):
            verdict: Any = results.verdicts().get(name)
            if verdict is not None and verdict.interval is not None:
                at = verdict.interval
                axes.plot([100 * at.low, 100 * at.high], [row, row], "-", color="C0", lw=1.5)
                axes.plot([100 * at.mean], [row], "o", color="C0", ms=4)
        axes.axvline(0, color=QUIET, lw=0.8)
        axes.set_title(setting)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(axis="x")
    rule = next(iter(found.values())).outcomes.rule
    figure.supxlabel(f"minus {rule.against}, in points of {rule.score}")
    return figure


def _scores(found: Mapping[str, Results], score: str) -> Table:
    """A row a method, a column a setting."""
    scores = {name: results.outcomes.scores(score) for name, results in found.items()}
    rows = [
        [method, *(_spread([100 * v for v in by.get(method, {}).values() if v is not None]) for by in scores.values())]
        for method in dict.fromkeys(method for by in scores.values() for method in by)
    ]
    return Table(f"{score}, points: mean and deviation over seeds.", ["method", *scores], rows)


def _table(setting: str, results: Results) -> Table:
    frame, verdicts, rule, rows = results.frame(), results.verdicts(), results.outcomes.rule, []
    for name in results.outcomes.methods:
        mine = frame[frame["method"] == name]
        tuned = next(r.result["tuned"] or {} for r in results.records if r.result["method"] == name)
        chosen = ", ".join(f"{key} {value:.3g}" for key, value in tuned.get("chosen", {}).items())
        rho = "" if mine["rho"].isna().all() else f"rho {mine['rho'].astype(float).mean():.3g}"
        rows.append(
            [
                name,
                _spread([100 * v for v in mine[rule.score]]),
                _spread(list(mine["loss"])),
                chosen or rho or "–",
                str(int(mine["passes"].max())),
                str(verdicts[name]) if name in verdicts else "the reference",
            ]
        )
    head = ["method", f"{rule.score}, points", "cross-entropy", "chosen", "gradients", f"against {rule.against}"]
    return Table(f"{setting}: mean and deviation on the test data over {mine['seed'].nunique()} seeds.", head, rows)


def _spread(values: list[float]) -> str:
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread}"
