"""A claim says what corrects it, and shows what refutes it."""

import pytest

from theory.claim import Claim
from theory.verdict import Outcome, Verdict


def claim(outcome, correction=""):
    def check(drawn, altered=False):
        return Verdict(Outcome.HOLDS, 0.0, 1)

    return Claim("s", "t", "x", outcome, check, correction)


def test_a_claim_that_is_refuted_owes_its_correction_and_its_counterexample():
    with pytest.raises(ValueError, match="'fails' needs a correction"):
        claim(Outcome.FAILS)
    with pytest.raises(ValueError, match="needs its smallest counterexample"):
        claim(Outcome.CORRECTED, correction="c")
    with pytest.raises(ValueError, match="'holds' has no correction"):
        claim(Outcome.HOLDS, correction="c")
