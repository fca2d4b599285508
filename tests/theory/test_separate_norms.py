"""The ends of the KL ball, which are not symmetric."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from theory.separate_norms import asymmetry, crossing


@settings(deadline=None)
@given(st.floats(0.01, 4), st.sampled_from([-1, 1]))
def test_the_ends_of_the_kl_ball_are_those_of_torch(logit, sign):
    old = torch.distributions.Bernoulli(logits=torch.tensor(sign * logit, dtype=torch.float64))

    def excess(t):
        new = torch.distributions.Bernoulli(logits=torch.tensor(sign * logit + t, dtype=torch.float64))
        return torch.distributions.kl_divergence(new, old).item() - 0.01

    ends = [brentq(excess, 0, 50, xtol=1e-13), -brentq(excess, -50, 0, xtol=1e-13)]
    assert np.allclose(ends, [crossing(sign * logit, 1), crossing(sign * logit, -1)], rtol=1e-6)
    assert asymmetry(sign * logit) > 1e-6 and asymmetry(0.0) < 1e-12


def test_a_kl_ball_without_an_end_is_an_error():
    with pytest.raises(ValueError, match="has no end on one side; pass a logit from"):
        crossing(5.0, 1)
