"""The ledger: which claims there are, in which order, and which instances decide them."""

from dataclasses import replace
from pathlib import Path

import pytest

from theory import ledger
from theory.verdict import Outcome, Verdict


def test_ids_are_in_the_order_of_the_papers():
    keys = ["F10", "F6.32", "F2a", "G1", "F6", "F2", "F6.9", "F10a"]
    assert sorted(keys, key=ledger.order) == ["F2", "F2a", "F6", "F6.9", "F6.32", "F10", "F10a", "G1"]


def test_the_ids_asked_for_come_in_the_order_asked_for():
    assert [entry.id for entry in ledger.entries(["G1", "F4"])] == ["G1", "F4"]


def test_the_readme_knows_how_many_claims_there_are():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert f"`make theory` runs {len(ledger.entries())} claims" in readme


def test_no_instances_decide_nothing():
    with pytest.raises(ValueError, match="0 instances decide nothing; ask for at least one"):
        ledger.seeds(ledger.entries(["F4"])[0].claim, 0)


def test_pieces_cover_every_seed_once_and_no_more_than_there_are():
    entry = ledger.entries(["F4"])[0]
    assert [seed for piece in ledger.chunks(entry, 1001, 250) for seed in piece] == list(range(1001))
    limited = replace(entry, claim=replace(entry.claim, cases=1))
    assert [list(piece) for piece in ledger.chunks(limited, 1001, 250)] == [[0]]


def test_a_piece_is_decided_from_names_as_from_the_entry():
    entry = ledger.entries(["F6.33"])[0]
    row = ledger.piece("theory.pac_bayes.final_step", "F6.33", range(2, 4), altered=False)
    assert replace(row, seconds=0.0) == replace(ledger.decide(entry, range(2, 4)), seconds=0.0)
    assert row.instances == 2 and ledger.identities("theory.pac_bayes.final_step") == 2


def test_rows_of_the_same_entry_add_up():
    first, second = (ledger.Row("F4", Verdict(Outcome.HOLDS, error, 3), 2, 1.5) for error in (0.5, 0.25))
    assert first + second == ledger.Row("F4", Verdict(Outcome.HOLDS, 0.5, 6), 4, 3.0)
