"""No outcome without what it rests on."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.verdict import Outcome, Trial, Verdict, judge, merge, undecided

good, bad = Trial(0.5, 1.0, "good"), Trial(2.0, 1.0, "bad")


@pytest.mark.parametrize("outcome", [Outcome.HOLDS, Outcome.CORRECTED, Outcome.FAILS])
def test_a_decision_needs_a_case(outcome):
    with pytest.raises(ValueError, match="rests on no case; judge at least one"):
        Verdict(outcome, 0.0, cases=0, counterexample="x")


@pytest.mark.parametrize("outcome", [Outcome.CORRECTED, Outcome.FAILS])
def test_a_refutation_needs_its_counterexample(outcome):
    with pytest.raises(ValueError, match="needs the counterexample"):
        Verdict(outcome, 0.0, cases=1)


def test_no_decision_needs_what_is_missing():
    with pytest.raises(ValueError, match="needs what is missing"):
        Verdict(Outcome.UNDECIDED, math.nan, cases=0)


def test_nothing_tried_is_nothing_established():
    with pytest.raises(ValueError, match="rests on no case"):
        judge([])


@pytest.mark.parametrize(
    "trials, printed, outcome, counterexample",
    [
        ([good], [], Outcome.HOLDS, ""),
        ([good, bad], [], Outcome.FAILS, "bad"),
        ([good], [good, bad], Outcome.CORRECTED, "bad"),
        ([good], [good], Outcome.UNDECIDED, ""),
        ([bad], [bad], Outcome.FAILS, "bad"),
    ],
)
def test_a_correction_needs_a_case_against_the_printed_claim(trials, printed, outcome, counterexample):
    verdict = judge(trials, printed)
    assert (verdict.outcome, verdict.counterexample, verdict.cases) == (outcome, counterexample, len(trials))


def test_not_a_number_refutes():
    verdict = judge([good, Trial(math.nan, 1.0, "lost")])
    assert verdict == Verdict(Outcome.FAILS, math.inf, 2, "lost")


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1))
def test_one_refuted_trial_is_enough(pairs):
    verdict = judge([Trial(error, tolerance, "case") for error, tolerance in pairs])
    assert verdict.worst_error == max(error for error, _ in pairs)
    assert (verdict.outcome is Outcome.HOLDS) == all(error <= tolerance for error, tolerance in pairs)


def test_merging_counts_everything_and_keeps_the_worst():
    holds, nothing = Verdict(Outcome.HOLDS, 0.5, 3), undecided("more")
    corrected, fails = Verdict(Outcome.CORRECTED, 0.1, 2, "c"), Verdict(Outcome.FAILS, 4.0, 1, "f")
    assert merge([nothing, holds]) == replace(holds, cases=3)
    assert merge([holds, corrected, nothing]) == Verdict(Outcome.CORRECTED, 0.5, 5, "c")
    assert merge([holds, fails, corrected]) == Verdict(Outcome.FAILS, 4.0, 6, "f")
    assert merge([nothing]).outcome is Outcome.UNDECIDED
