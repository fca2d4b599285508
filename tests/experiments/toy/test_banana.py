"""Monge SAM's banana."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.toy.banana import Banana


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_the_banana_s_gradient_by_differences(x, y):
    theta, h = np.array([[x], [y]]), 1e-6
    value, gradient = Banana().look(theta)
    assert value[0] == (1 - x * y) ** 2
    for k in range(2):
        step = np.zeros((2, 1))
        step[k] = h
        slope = (Banana().look(theta + step)[0] - Banana().look(theta - step)[0]) / (2 * h)
        assert gradient[k] == pytest.approx(slope, abs=1e-6)
