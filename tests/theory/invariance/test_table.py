"""The invariance table: every cell by running, and in words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from tests.theory.decided import verdicts
from tests.theory.invariance.cases import cases
from theory.invariance import table
from theory.invariance.cells import NO, NONE, OUTPUTS, YES
from theory.invariance.counterexamples import COUNTEREXAMPLES
from theory.invariance.table import CLAIMS, COLUMNS, IDS, TABLE, Instance, rows
from theory.verdict import Outcome


def test_rows_hold_to_rounding():
    assert all(verdict.worst_error <= 1e-9 for key in CLAIMS for verdict in verdicts(key))


@settings(deadline=None)
@given(st.data())
@pytest.mark.parametrize("column", COLUMNS)
def test_no_legal_case_refutes_a_row(column, data):
    case = data.draw(cases(column, widest=True))
    for key in TABLE:
        verdict = CLAIMS[IDS[key]].check(Instance((case,)))
        assert verdict.outcome in (Outcome.HOLDS, Outcome.UNDECIDED), (key, verdict)


def test_a_run_finds_the_table_that_is_stated():
    for row, (key, stated) in zip(rows(), TABLE.items(), strict=True):
        assert row.id == IDS[key] and {column: cell.answer for column, cell in row.cells.items()} == stated.answers
        for cell in row.cells.values():
            assert (cell.answer == YES) == (not cell.counterexample)
            assert (cell.worst_error < 1e-9) == (cell.answer in (YES, OUTPUTS))


@pytest.mark.parametrize("key", TABLE)
def test_each_row_says_in_words_what_its_cells_say(key):
    claim, answers = CLAIMS[IDS[key]], TABLE[key].answers
    assert claim.outcome is Outcome.HOLDS and TABLE[key].title in claim.text
    assert claim.tex.count(r"\checkmark") == list(answers.values()).count(YES)
    assert claim.tex.count(r"\times") == list(answers.values()).count(NO)
    assert claim.tex.count(r"\nexists") == list(answers.values()).count(NONE)


def test_the_picture_has_every_cell_in_words():
    axes = Figure().add_subplot()
    table.draw(axes)
    words = [text.get_text() for text in axes.texts]
    assert words == [answer for stated in TABLE.values() for answer in stated.answers.values()]


def test_an_instance_has_one_case_a_column():
    for chosen in ((), (COUNTEREXAMPLES["diagonal"],) * 2):
        with pytest.raises(ValueError, match="pass at least one, and one a column"):
            Instance(chosen)
