"""A metric that is wrong is seen in its cells."""

import numpy as np
import pytest

from theory.invariance import geometries
from theory.invariance.cells import GEOMETRIES, YES, Tangent
from theory.invariance.table import CLAIMS, IDS, TABLE, instance, stored
from theory.verdict import Outcome


@pytest.fixture
def no_gap_kept():
    """Gaps at the stored cases are kept for the process: none of a wrong metric may stay."""
    stored.cache_clear()
    yield
    stored.cache_clear()


@pytest.mark.usefixtures("no_gap_kept")
@pytest.mark.parametrize(
    "key", [key for key, stated in TABLE.items() if stated.answers["smooth"] == YES and "argmax" not in key]
)
@pytest.mark.parametrize("wrong", ["damped", "one entry", "diagonal"])
def test_a_wrong_metric_in_a_row_is_caught(monkeypatch, key, wrong):
    right = GEOMETRIES[key]
    assert isinstance(right, Tangent)

    def step(side):
        if wrong == "damped":
            return getattr(geometries, key)(side, damping=1e-3)
        found = right.step(side)
        if wrong == "diagonal":
            return found._replace(epsilon=geometries.diagonal_fisher(side).epsilon)
        return found._replace(epsilon=found.epsilon * np.append(1 + 1e-4, np.ones(side.theta.size - 1)))

    monkeypatch.setitem(GEOMETRIES, key, Tangent(step, right.rows))
    assert CLAIMS[IDS[key]].check(instance(0)).outcome is Outcome.FAILS
