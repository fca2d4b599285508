"""A row of the ledger: what a source says, the verdict that its file states, and the check that decides it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from theory.verdict import Outcome, Verdict


@dataclass(frozen=True)
class Claim:
    """A claim as its source prints it, and what is true.

    source: paper and equation. text: the claim in one line, plain Unicode. tex: the same as LaTeX, for display.
    outcome: the verdict stated here; a run that finds another one fails.
    check(instance, altered): decides one instance; an altered claim must be judged otherwise.
    correction, correction_tex: what is true instead, where the claim fails or needs correcting.
    smallest: the instance that Hypothesis shrinks to when asked for one that refutes the claim as printed.
    cases: how many of ``instance(0)``, ``instance(1)``, … there are; None: without end. Counted where a claim is about
    printed constants or an enumeration, for which more draws would only repeat themselves.
    """

    source: str
    text: str
    tex: str
    outcome: Outcome
    check: Callable[..., Verdict]
    correction: str = ""
    correction_tex: str = ""
    smallest: Any = None
    cases: int | None = None

    def __post_init__(self) -> None:
        corrected = self.outcome in (Outcome.CORRECTED, Outcome.FAILS)
        if corrected != bool(self.correction):
            has = "needs a" if corrected else "has no"
            raise ValueError(f"A claim that '{self.outcome.value}' {has} correction; pass correction=... only for such claims.")
        if corrected and self.smallest is None:
            raise ValueError("A refuted claim needs its smallest counterexample; pass smallest=Instance(...).")
