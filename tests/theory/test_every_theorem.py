"""What every theorem file owes: a proof, reproducible instances, decisions, altered claims judged otherwise, a picture."""

import pytest
import sympy as sp
from matplotlib.figure import Figure

from tests.theory.decided import ENTRIES, seeds, verdict, verdicts
from theory import ledger
from theory.verdict import Outcome

each_theorem = pytest.mark.parametrize("module", ledger.theorems().values(), ids=ledger.theorems())
each_claim = pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)


def test_each_claim_is_decided_in_one_place():
    assert len(ENTRIES) == sum(len(module.CLAIMS) for module in ledger.theorems().values()) > 0


@each_theorem
def test_the_derivation_proves_something(module):
    proved = module.derive()
    assert proved and all(isinstance(identity, sp.Eq) for identity in proved.values())


@each_claim
def test_every_instance_is_decided_and_altered_judged_otherwise(entry):
    stated = entry.claim.outcome
    assert {verdict.outcome for verdict in verdicts(entry.id)} == {stated}
    otherwise = Outcome.HOLDS if stated is Outcome.FAILS else Outcome.FAILS
    assert {verdict.outcome for verdict in verdicts(entry.id, altered=True)} == {otherwise}


@each_claim
def test_an_instance_and_its_verdict_are_reproducible(entry):
    last = seeds(entry.id)[-1]
    assert entry.claim.check(entry.theorem.instance(last)) == verdict(entry.id, last)


@each_claim
def test_the_stored_counterexample_refutes_the_claim_as_printed(entry):
    smallest = entry.claim.smallest
    assert (smallest is None) is (entry.claim.outcome is Outcome.HOLDS)
    assert smallest is None or entry.claim.check(smallest).outcome is entry.claim.outcome


@each_theorem
def test_the_picture_can_be_drawn(module):
    figure = Figure()
    module.draw(figure.add_subplot())
    assert figure.axes[0].has_data()
