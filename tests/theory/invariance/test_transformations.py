"""Maps and symmetries are what they say, and what is none is refused."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.invariance.counterexamples import COUNTEREXAMPLES
from theory.invariance.table import instance

SEEDS = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(SEEDS)
def test_symmetries_keep_the_function_and_maps_are_what_their_derivative_says(seed):
    for case in instance(seed).cases:
        if case.kind.symmetry:
            assert np.allclose(case.new.here, case.old.here, rtol=1e-10, atol=1e-12)
        steps = 1e-6 * np.eye(len(case.phi))
        difference = (case.back(case.phi + steps) - case.back(case.phi - steps)).T / 2e-6
        assert np.allclose(case.derivative, difference, rtol=1e-6, atol=1e-6 * abs(case.derivative).max())
        if case.column == "rotation":
            assert np.allclose(case.derivative @ case.derivative.T, np.eye(len(case.phi)))


GOOD = COUNTEREXAMPLES["diagonal"]


@pytest.mark.parametrize(
    "changes, cause",
    [
        ({"column": "shear"}, "'shear' is not a column of the table; choose one of rotation, diagonal"),
        ({"targets": np.zeros(3)}, "2 inputs for 3 targets; pass as many of both"),
        ({"inputs": np.zeros((0, 1)), "targets": np.zeros(0)}, "0 inputs for 0 targets; pass as many of both, one at least"),
        ({"phi": np.array([np.nan, 1.0])}, "phi has an entry that is not finite; pass numbers"),
        ({"targets": np.array([np.inf, 1.0])}, "targets has an entry that is not finite"),
        ({"phi": np.ones(3)}, "3 parameters do not make a model of 1 inputs in column 'diagonal'"),
        ({"numbers": np.ones(3)}, "3 numbers do not make a map here; pass 2"),
        ({"numbers": np.array([0.0, 1.0])}, "A scale of 0 has no inverse; pass scales that are not zero"),
    ],
)
def test_what_is_no_case_is_refused(changes, cause):
    with pytest.raises(ValueError, match=re.escape(cause)):
        dataclasses.replace(GOOD, **changes)


@pytest.mark.parametrize("column", ["node-wise", "BatchNorm"])
@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_a_symmetry_needs_positive_scales(column, scale):
    with pytest.raises(ValueError, match="must be positive to leave the network the same function; pass scales > 0"):
        dataclasses.replace(COUNTEREXAMPLES[column], numbers=np.array([scale]))


@pytest.mark.parametrize(
    "column, phi", [("natural", [1.0, 0.0]), ("natural", [1.0, 2.0]), ("mean", [2.0, 4.0]), ("mean", [2.0, 1.0])]
)
def test_outside_a_chart_there_is_no_gaussian(column, phi):
    with pytest.raises(ValueError, match=r"No σ > 0 belongs to .* pass η₂ < 0, or E y² > \(E y\)²"):
        dataclasses.replace(COUNTEREXAMPLES[column], phi=np.array(phi))
