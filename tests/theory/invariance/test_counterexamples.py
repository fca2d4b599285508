"""Each column's stored case shows all that the column refuses, and Hypothesis finds no smaller one."""

import pytest

from tests.theory.invariance.cases import cases
from tests.theory.smallest import assert_smallest
from theory.invariance.cells import GEOMETRIES, OUTPUTS, YES
from theory.invariance.counterexamples import COUNTEREXAMPLES
from theory.invariance.table import COLUMNS, TABLE


def shows_every_refusal(case):
    """Whether this one case shows every cell of its column that is not "yes", and that off the kinks of relu."""
    if case.column == "node-wise" and (case.inputs[:, 0] * case.phi[0] + case.phi[1] == 0).any():
        return False
    for key, stated in TABLE.items():
        answer = stated.answers[case.column]
        if answer != YES and (answer, key) != (OUTPUTS, "kl_argmax"):
            gap = GEOMETRIES[key].gap(case)
            if gap is None or gap.answer != answer or not gap.determined:
                return False
    return True


@pytest.mark.parametrize("column", COLUMNS)
def test_the_stored_counterexample_is_the_smallest_that_hypothesis_finds(column):
    assert_smallest(COUNTEREXAMPLES[column], cases(column), shows_every_refusal, examples=20_000)
