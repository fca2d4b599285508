"""The saddle of the banana loss: which method is held where, at the same ρ and at matched length."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.theory.decided import verdicts
from tests.theory.smallest import assert_hypothesis_finds
from theory.banana import CLAIMS, Instance, check, check_matched
from theory.saddle_dynamics import boundary, gradient, monge, sam
from theory.verdict import Outcome


@st.composite
def instances(draw):
    """ρ = 1, ½, ⅓, … and rays with integer v/u first; rates that are too long for the gap among them."""
    rho = 1 / draw(st.integers(1, 50))
    slope = draw(st.integers(0, 8) | st.floats(0, 8))
    return Instance(rho, slope, draw(st.sampled_from([0.01, 0.001, 0.1, 0.5])))


def test_the_smallest_counterexample_is_the_one_in_the_ledger():
    assert_hypothesis_finds(CLAIMS["M4a"], instances(), examples=500)


def test_the_counterexamples_are_starts_that_the_matched_sam_does_not_hold():
    assert all("held: False" in verdict.counterexample for verdict in verdicts("M4a"))


@settings(deadline=None, max_examples=50)
@given(instances())
def test_no_instance_gets_a_wrong_verdict(drawn):
    assert check(drawn).outcome in (Outcome.HOLDS, Outcome.UNDECIDED)
    assert check_matched(drawn).outcome in (Outcome.FAILS, Outcome.UNDECIDED)


@pytest.mark.parametrize("rho", [0.1, 0.5, 1.0])
def test_on_the_line_downhill_the_matched_methods_hold_the_same_starts(rho):
    edge = boundary(0.0, monge(rho))
    assert math.isclose(edge * math.hypot(1, math.hypot(*gradient(*Instance(rho, 0).start(edge)))), rho, rel_tol=1e-12)
    assert boundary(0.0, sam(edge)) == pytest.approx(edge, rel=1e-12)
    verdict = check_matched(Instance(rho, 0))
    assert verdict.outcome is Outcome.UNDECIDED and "off v = 0" in verdict.missing


@pytest.mark.parametrize("parameters", [(0.8, 1.0, 1e-6), (0.8, 1.0, 1e-5), (0.05, 1.0, 1e-5), (1e-3, 1.0, 1e-8)])
@pytest.mark.parametrize("decide", [check, check_matched])
def test_steps_too_short_to_arrive_decide_nothing(decide, parameters):
    verdict = decide(Instance(*parameters))
    assert (
        verdict.outcome is Outcome.UNDECIDED
        and "after 20000 a start had neither reached the saddle nor left" in verdict.missing
    )


def test_one_outcome_of_two_is_not_enough():
    verdict = check_matched(Instance(0.05, 1.0, 1e-4))
    assert verdict.outcome is Outcome.UNDECIDED and "longer steps" in verdict.missing


@pytest.mark.parametrize(
    "arguments, cause",
    [
        ((0.0, 1.0), "rho = 0.0"),
        ((1.5, 1.0), r"rho = 1.5 .* pass one in \(0, 1\]: from √2 on"),
        ((math.nan, 1.0), "rho = nan"),
        ((0.5, -1.0), r"slope = -1.0 .* pass one in \[0, 8\]"),
        ((0.5, math.inf), "slope = inf"),
        ((0.5, 1.0, 0.0), r"rate = 0.0 .* pass one in \(0, 1\)"),
    ],
)
def test_bad_input_names_cause_and_cure(arguments, cause):
    with pytest.raises(ValueError, match=cause):
        Instance(*arguments)
