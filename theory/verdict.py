"""What a check returns: the outcome for a claim, with the evidence that this outcome needs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """What a run established about a claim."""

    HOLDS = "holds"
    CORRECTED = "holds with a correction"
    FAILS = "fails"
    UNDECIDED = "not decided"


@dataclass(frozen=True)
class Verdict:
    """An outcome and its evidence.

    worst_error: the largest error of the statement judged, in the unit its check names; inf where one was not a number.
    cases: how many comparisons were made.
    counterexample: for FAILS to the statement judged, for CORRECTED to the claim as it was printed.
    missing: for UNDECIDED, what it would take to decide.
    """

    outcome: Outcome
    worst_error: float
    cases: int
    counterexample: str = ""
    missing: str = ""

    def __post_init__(self) -> None:
        if self.cases < 1 and self.outcome is not Outcome.UNDECIDED:
            raise ValueError(
                f"'{self.outcome.value}' rests on no case; judge at least one, or return UNDECIDED and what is missing."
            )
        if self.outcome in (Outcome.FAILS, Outcome.CORRECTED) and not self.counterexample:
            raise ValueError(f"'{self.outcome.value}' needs the counterexample that shows it; pass counterexample=...")
        if self.outcome is Outcome.UNDECIDED and not self.missing:
            raise ValueError("'not decided' needs what is missing; pass missing=...")


def undecided(missing: str) -> Verdict:
    """Where no comparison could be made."""
    return Verdict(Outcome.UNDECIDED, math.nan, 0, missing=missing)


@dataclass(frozen=True)
class Trial:
    """One comparison: the statement passes if error ≤ tolerance. ``case`` says where it was made, for the counterexample."""

    error: float
    tolerance: float
    case: str

    @property
    def refuted(self) -> bool:
        return not self.error <= self.tolerance  # so that NaN refutes


def judge(trials: Sequence[Trial], printed: Sequence[Trial] = ()) -> Verdict:
    """The verdict on a statement from its ``trials``; ``printed`` are those of the source's wording, if ours differs.

    CORRECTED needs a case that refutes the printed claim: where both pass, the cases do not distinguish them.
    """
    worst = float(max((math.inf if math.isnan(trial.error) else trial.error for trial in trials), default=math.nan))
    against = next((trial for trial in trials if trial.refuted), None)
    against_printed = next((trial for trial in printed if trial.refuted), None)
    if against:
        return Verdict(Outcome.FAILS, worst, len(trials), against.case)
    if not printed:
        return Verdict(Outcome.HOLDS, worst, len(trials))
    if against_printed:
        return Verdict(Outcome.CORRECTED, worst, len(trials), against_printed.case)
    missing = "a case that tells the printed claim from its correction: both survive every one of these"
    return Verdict(Outcome.UNDECIDED, worst, len(trials), missing=missing)


def merge(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict from many instances: FAILS if any fails, else CORRECTED if any is, else HOLDS if any holds.

    The counterexample is that of the first instance with this outcome. Undecided instances change nothing.
    """
    ranks = (Outcome.FAILS, Outcome.CORRECTED, Outcome.HOLDS, Outcome.UNDECIDED)
    chosen = min(verdicts, key=lambda verdict: ranks.index(verdict.outcome))
    decided = [verdict for verdict in verdicts if verdict.outcome is not Outcome.UNDECIDED]
    worst = max((verdict.worst_error for verdict in decided), default=math.nan)
    cases = sum(verdict.cases for verdict in verdicts)
    return Verdict(chosen.outcome, worst, cases, chosen.counterexample, chosen.missing)
