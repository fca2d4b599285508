"""What came out: tables, verdicts, figures and a report, from records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core import extra
from .outcomes import Outcomes
from .statistics import Rule, Verdict
from .verdicts import judged, said


class Results:
    """What an ablation gives. outcomes: its records, and scores and differences as numbers; failed: title ↦ traceback."""

    def __init__(self, outcomes: Outcomes) -> None:
        self.outcomes, self.records, self.failed = outcomes, outcomes.records, dict(outcomes.failed)

    def verdicts(self, rule: Rule | None = None) -> dict[str, Verdict]:
        """Of each method against the reference: is it better, or where the rule has a margin, is it the same.

        rule: by default the one that the records hold; the verdict of another says that it was chosen after the runs. A method
        that diverged from a seed, or failed there, is not decided: leaving its worst runs out would flatter it.
        """
        return judged(self.outcomes, rule)

    def frame(self) -> Any:
        """A pandas data frame, a row a run: method, seed, scores on the test data, rho, gradients, seconds, diverged.

        seconds: of training, without tuning, scores and looks.
        """
        from .frames import runs

        return runs(self.records)

    def epochs(self) -> Any:
        """A pandas data frame, a row an epoch of a run."""
        from .frames import epochs

        return epochs(self.records)

    def figures(self) -> dict[str, Any]:
        """matplotlib figures by name: "score" and "training"."""
        with extra("ablation", "figures need matplotlib"):
            from .figures import DRAWN

        return {name: draw(self.outcomes) for name, draw in DRAWN.items()}

    def report(self, folder: str | Path) -> Path:
        """Write ``report.html``, which needs nothing else, and its pictures into ``folder``; the page's path."""
        with extra("ablation", "a report's figures need matplotlib"):
            from .page import write_report

        return write_report(self.outcomes, Path(folder))

    def __str__(self) -> str:
        return said(self.outcomes)

    def __repr__(self) -> str:
        return f"Results({len(self.records)} of {self.outcomes.total} runs of {', '.join(self.outcomes.methods)})"
