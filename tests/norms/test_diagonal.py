"""Entries that pin their coordinate."""

import math

import pytest
import torch

import geosam
from geosam import norms


def test_an_infinite_entry_of_a_diagonal_pins_its_coordinate():
    norm = norms.Diagonal.of([torch.tensor([1.0, math.inf])])
    found = geosam.solve(norm, [torch.tensor([2.0, 5.0])], 0.1)
    torch.testing.assert_close(found.epsilon, [torch.tensor([0.1, 0.0])])
    assert norm.norm(found.epsilon) == pytest.approx(0.1)
    assert norm.norm([torch.tensor([0.0, 1e-9])]) == math.inf
