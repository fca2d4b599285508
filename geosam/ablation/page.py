"""The HTML report of an ablation: scores, verdicts, settings, and where the records come from."""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path
from typing import Any

from ..records import spelled
from .figures import DRAWN
from .outcomes import Outcomes
from .report import Page, Picture, Section, Table, write_page
from .verdicts import judged

WORDS = {
    "score": "A point is a seed, the bar their mean. On the right the differences to the reference at equal seed, their mean "
    "and its interval: where Holm's p over all methods is not below the level, the methods are not told apart.",
    "training": "A line is a run: the loss of the first pass, over gradients, so that equal places are equal compute.",
}


def write_report(outcomes: Outcomes, folder: Path) -> Path:
    """``report.html`` in the folder."""
    rule, count = outcomes.rule, len({record.seed for record in outcomes.records})
    lead = (
        f"{len(outcomes.methods)} methods from {count} paired seeds, compared with {rule.against} by {rule.score} on the test "
        f"data at level {rule.level:g}, as was fixed before the runs."
    )
    score, training = (Picture(name, WORDS[name], partial(draw, outcomes)) for name, draw in DRAWN.items())
    page = Page(
        "Ablation",
        lead,
        score,
        _scores(outcomes),
        sections=[Section("Verdicts", [_verdicts(outcomes)]), Section("Training", [training])],
        setup=[_methods(outcomes), _settings(outcomes)],
    )
    return write_page(folder / "report.html", page, outcomes)


def _verdicts(outcomes: Outcomes) -> Table:
    rows = [[name, v.outcome, v.claim, v.why] for name, v in judged(outcomes).items()]
    return Table(
        "Verdicts. Intervals are each method's own; the decision is by Holm's p.", ["method", "outcome", "claim", "why"], rows
    )


def _scores(outcomes: Outcomes) -> Table:
    rows = []
    for name, by_seed in outcomes.scores(outcomes.rule.score).items():
        values = [v for v in by_seed.values() if v is not None]
        mine = [record for record in outcomes.records if record.result["method"] == name]
        rhos = [record.result["radius"]["rho"] for record in mine if record.result["radius"] is not None]
        rows.append(
            [
                name,
                _text(statistics.fmean(values) if values else None, ".4f"),
                _text(statistics.stdev(values) if len(values) > 1 else None, ".4f"),
                str(len(values)),
                str(len(by_seed) - len(values)),
                f"{min(rhos):.3g} – {max(rhos):.3g}" if rhos else "–",
                str(mine[0].result["passes"]),
                f"{statistics.fmean(record.result.get('seconds', record.seconds) for record in mine):.1f}",
            ]
        )
    head = ["method", "mean", "deviation", "seeds", "diverged", "rho", "gradients", "seconds"]
    return Table(f"{outcomes.rule.score} on the test data, and what it cost.", head, rows)


def _methods(outcomes: Outcomes) -> Table:
    configs = {record.result["method"]: record.config["method"] for record in outcomes.records}
    return Table("Methods.", ["name", "method"], [[name, spelled(config)] for name, config in configs.items()])


def _settings(outcomes: Outcomes) -> Table:
    shared: dict[str, Any] = outcomes.records[0].config["setting"]
    return Table("Settings.", ["setting", "value"], [[k, spelled(v)] for k, v in shared.items() if k != "type"])


def _text(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
