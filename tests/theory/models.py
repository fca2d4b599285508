"""The models of theory/kl_expansion.py, drawn by Hypothesis, and in torch's own words."""

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.distributions import Categorical, Distribution, Normal

from theory.kl_expansion import Gaussian, Instance, Softmax, unit


@st.composite
def plain_models(draw):
    """One input of size one and integers, for counterexamples that can be read."""
    family = draw(st.sampled_from([Softmax, Gaussian]))
    size = draw(st.integers(1, 3)) if family is Softmax else 2
    numbers = st.lists(st.integers(-2, 2), min_size=size, max_size=size)
    theta, direction = (torch.tensor(draw(numbers)).double() for _ in range(2))
    return Instance(family, torch.ones(1, 1).double(), theta, direction)


@st.composite
def models(draw, scales=(1.0,)):
    """Linear and of two tanh units, weights times one of the scales; any of them saturated, redundant or insensitive."""
    family = draw(st.sampled_from([Softmax, Gaussian]))
    n, d, hidden = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.sampled_from([0, 2]))
    outputs = draw(st.integers(1, 4)) if family is Softmax else 2
    size = hidden * d + (hidden or d) * outputs
    entries = st.floats(-2, 2, width=16)
    inputs, theta, direction = (torch.from_numpy(draw(arrays(np.float64, s, elements=entries))) for s in ((n, d), size, size))
    return Instance(family, inputs, theta * draw(st.sampled_from(scales)), direction, hidden)


def distribution(family, outputs) -> Distribution:
    """p_θ with these outputs."""
    return Categorical(logits=outputs) if family is Softmax else Normal(outputs[:, 0], outputs[:, 1].exp())


def direction(drawn) -> torch.Tensor:
    """The instance's own, with ‖ε‖_F = 1; F sees it."""
    epsilon = unit(drawn)
    assert isinstance(epsilon, torch.Tensor)
    return epsilon
