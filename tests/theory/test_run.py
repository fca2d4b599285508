"""A run of the ledger: what it prints, and when it fails."""

from dataclasses import replace

import pytest

from theory import ledger
from theory.invariance import table
from theory.pac_bayes import final_step
from theory.run import run
from theory.verdict import Outcome, Verdict, undecided


@pytest.fixture
def ran(capsys, monkeypatch):
    """(exit status, what was printed)."""
    monkeypatch.setenv("COLUMNS", "160")

    def call(*ids, instances=2, altered=False, jobs=1):
        return run(ids, instances, altered, jobs), capsys.readouterr().out

    return call


def stated(monkeypatch, **changes):
    """F6.33 in the ledger with a field changed."""
    monkeypatch.setitem(final_step.CLAIMS, "F6.33", replace(final_step.CLAIMS["F6.33"], **changes))


def test_a_row_shows_claim_verdict_evidence_and_time(ran):
    status, output = ran("F6.33", "F6.34", instances=3)
    assert status == 0
    for part in ("F6.33", "F6.34", "eq. 32 and ρ", "holds with a correction", "worst error", "3 cases", " s", "over 2(n−1)"):
        assert part in output
    assert "counterexample" in output and "2 claims, 2 identities proved symbolically, 6 cases" in output


def test_the_verdicts_are_counted_at_the_end(ran):
    end = ran("F6.33", "F6.34", "F1")[1].splitlines()[-3:]
    assert end[0] == "holds 2: F6.34, F1" and end[1] == "holds with a correction 1: F6.33" and end[2].startswith("3 claims")


def test_another_verdict_than_stated_is_a_failure(ran, monkeypatch):
    stated(monkeypatch, outcome=Outcome.FAILS)
    status, output = ran("F6.33", "F6.34")
    assert status == 1 and "another verdict than the file states: F6.33\n" in output


def test_a_check_that_cannot_fail_is_found_by_the_altered_run(ran, monkeypatch):
    assert ran("F6.33", "F6.34", altered=True)[0] == 0
    stated(monkeypatch, check=lambda drawn, altered=False: final_step.check(drawn))
    status, output = ran("F6.33", "F6.34", altered=True)
    assert status == 1 and "not judged otherwise: F6.33\n" in output


@pytest.mark.parametrize("altered", [False, True])
def test_a_check_that_never_decides_never_passes(ran, monkeypatch, altered):
    stated(monkeypatch, check=lambda drawn, altered=False: undecided("an instance that decides"))
    status, output = ran("F6.33", altered=altered)
    assert status == 1 and "an instance that decides" in output


def test_one_refutation_outweighs_any_number_of_confirmations(ran, monkeypatch):
    last = final_step.instance(9)

    def check(drawn, altered=False):
        return Verdict(Outcome.FAILS, 2.0, 1, "the tenth") if drawn == last else final_step.check(drawn)

    stated(monkeypatch, check=check)
    assert ran("F6.33", instances=9)[0] == 0
    status, output = ran("F6.33", instances=10)
    assert status == 1 and "the tenth" in output


@pytest.mark.parametrize("wanted, near", [("F22", "F2"), ("f4", "F4"), ("push", ""), ("", "")])
def test_an_unknown_id_names_the_nearest(ran, wanted, near):
    status, output = ran(wanted)
    assert status == 2
    assert f"No claim '{wanted}' in the ledger; the nearest ids are" in output and near in output.split("nearest")[1]


def test_the_invariance_table_is_printed_with_its_rows(ran, monkeypatch):
    found = [
        table.Row(table.IDS[key], row.title, "", {c: table.Cell(a, 0.0) for c, a in row.answers.items()}) for key, row in TABLE
    ]
    monkeypatch.setattr("theory.report.rows", lambda: found)
    monkeypatch.setattr(ledger, "identities", lambda module: 0)
    status, output = ran("I1", instances=1)
    assert status == 0 and "Does ε* transform as a tangent vector" in output
    assert "tangent vector" not in ran("I1", instances=1, altered=True)[1]
    for mark, answer in (("✓", "yes"), ("✗", "no"), ("∅", "none")):
        cells = [cell for _, row in TABLE for cell in row.answers.values()]
        assert output.count(mark) == cells.count(answer) + (mark == "∅")  # once in the caption


TABLE = list(table.TABLE.items())


def test_processes_change_nothing(ran):
    """Two pieces of 250 and 10 instances: the same verdicts, whichever process finds them."""
    one, two = (ran("F6.33", instances=260, jobs=jobs)[1].partition("worst")[2] for jobs in (1, 2))
    assert one.split(" cases")[0] == two.split(" cases")[0] != "" and "260 cases" in one
