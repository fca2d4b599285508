"""Every line of the zoo: right or refused as it says. ``-m zoo`` runs all of it, in float64 and float32."""

import re
import warnings

import pytest
import torch

from tests.zoo.check import QUANTITIES, Outcome, complaints
from tests.zoo.line import GROUPS
from tests.zoo.table import FAMILIES, LINES, OFTEN, QUICK

ALL = [(name, dtype) for name, line in LINES.items() for dtype in line.dtypes]


@pytest.fixture(autouse=True)
def quiet():
    """torch's own warnings: of kernels that it lacks, and of old ways that are tried here on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", OFTEN)
def test_the_lines_that_fail_first(name):
    assert complaints(LINES[name], torch.float64, QUICK) == []


@pytest.mark.zoo
@pytest.mark.parametrize("name, dtype", ALL, ids=lambda part: str(part).removeprefix("torch."))
def test_a_line_is_right_or_refused_as_it_says(name, dtype):
    assert complaints(LINES[name], dtype) == []


def test_the_table_is_whole():
    assert len(LINES) == sum(len(family.LINES) for family in FAMILIES) >= 60, "two lines have one name"
    assert tuple(QUANTITIES) == GROUPS["all"]
    for line in LINES.values():
        assert set(line.refused) <= {*GROUPS, *QUANTITIES} and set(line.only) <= set(QUANTITIES), line.name
        assert all(re.compile(reason) for reason in line.refused.values())


@pytest.mark.parametrize(
    "outcome, reason, found",
    [
        (Outcome("KL", 1e-12, None), None, None),
        (Outcome("KL", 1e-6, None), None, "KL is 1e-06 off"),
        (Outcome("KL", float("nan"), None), None, "KL is nan off"),
        (Outcome("KL", 0.0, None), "samples meet", "is not refused"),
        (Outcome("KL", None, "no likelihood"), None, "is refused"),
        (Outcome("KL", None, "no likelihood"), "samples meet", "refused otherwise"),
        (Outcome("KL", None, "no likelihood"), "likelihood", None),
    ],
)
def test_what_is_not_as_a_line_says_is_told(outcome, reason, found):
    told = outcome.complaint(reason, 1e-9)
    assert (told is None) if found is None else (found in (told or ""))
