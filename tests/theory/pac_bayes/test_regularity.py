"""How small r must be on N(μ, σ²) and on logistic regression: against torch's Fisher and points drawn in the ellipsoid."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.pac_bayes.inputs import rows
from theory.pac_bayes.regularity import (
    Instance,
    allowed_radius,
    boundary,
    changes,
    check,
    check_entries,
    digits,
    fisher,
    instance,
    lipschitz,
)
from theory.verdict import Outcome


@st.composite
def anything(draw):
    """Both models, σ from 10⁻⁶ to 10⁶, ε from 10⁻⁶ to 10, features of any scale, weights that saturate some of them."""
    epsilon = 10.0 ** draw(st.floats(-6, 1))
    if draw(st.booleans()):
        return Instance((draw(st.floats(-1e6, 1e6)), 10.0 ** draw(st.floats(-6, 6))), epsilon)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    k = draw(st.integers(1, 4))
    x = rng.normal(size=(draw(st.integers(3 * k, 30)), k)) * 10.0 ** draw(st.integers(-2, 2))
    theta = rng.normal(size=k) / abs(x).max() * draw(st.sampled_from([0.0, 1.0, 5.0]))
    return Instance(tuple(theta.tolist()), epsilon, rows(x))


@settings(deadline=None)
@given(anything())
def test_no_model_refutes_the_radii(drawn):
    assert check(drawn).outcome is Outcome.HOLDS
    assert check_entries(drawn).outcome is Outcome.HOLDS


@given(st.integers(0, 2**30))
def test_on_one_hot_inputs_three_percent_more_are_too_much_for_both(third):
    drawn = instance(3 * third + 2)
    r = 1.03 * allowed_radius(drawn, entries=True)
    assert min(changes(drawn, r)[:2]) > drawn.epsilon


@pytest.mark.parametrize("seed", range(4))
def test_the_fisher_is_the_average_hessian_of_torch(seed):
    drawn = instance(seed)
    theta = torch.tensor(drawn.center, dtype=torch.float64)
    if drawn.features:  # the labels play no part in the Hessian of a logistic regression
        x = torch.tensor(drawn.features, dtype=torch.float64)
        H = torch.autograd.functional.hessian(lambda t: torch.nn.functional.softplus(x @ t).mean(), theta)
    else:
        noise = torch.tensor([-math.sqrt(3), 0.0, math.sqrt(3)], dtype=torch.float64)
        y, weights = theta[0] + theta[1] * noise, torch.tensor([1, 4, 1]) / 6
        H = torch.autograd.functional.hessian(lambda t: (weights * (t[1].log() + ((y - t[0]) / t[1]) ** 2 / 2)).sum(), theta)
    assert np.allclose(fisher(drawn, theta.numpy()), H.numpy(), rtol=1e-6, atol=1e-12 * H.abs().max().item())


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_random_points_of_the_ellipsoid_obey_it_too(seed):
    drawn = instance(seed)
    r, F = allowed_radius(drawn, entries=False), fisher(drawn, np.array(drawn.center))
    rng = np.random.default_rng(seed)
    for raw in rng.normal(size=(20, len(F))):
        point = np.array(drawn.center) + r * rng.random() * raw / math.sqrt(raw @ F @ raw)
        ratios = np.linalg.eigvalsh(fisher(drawn, point)) / np.linalg.eigvalsh(F)
        assert abs(ratios - 1).max() <= drawn.epsilon * (1 + 1e-9)


def test_the_gaussian_radius_is_exact_and_ends_at_root_two():
    drawn = Instance((3.0, 0.2), 0.5)
    r = allowed_radius(drawn, entries=False)
    assert changes(drawn, r)[0] == pytest.approx(0.5, rel=1e-12)
    assert allowed_radius(Instance((0.0, 1.0), 1e12), entries=False) < math.sqrt(2)
    assert changes(drawn, math.sqrt(2))[0] == math.inf


@pytest.mark.parametrize("components", [2, 3, 4])
def test_on_digits_the_radius_shrinks_with_the_dimension(components):
    x = digits(components)
    drawn = Instance((0.0,) * x.shape[1], 1.0, rows(x))
    m = math.log(2) / allowed_radius(drawn, entries=False)
    assert m >= 2 * math.sqrt(x.shape[1])
    assert allowed_radius(drawn, entries=True) <= allowed_radius(drawn, entries=False)


def test_the_lipschitz_constants_of_the_gaussian():
    drawn, r, s = Instance((0.0, 2.0), 0.5), 0.3, 2.0
    q = r / math.sqrt(2)
    first, second = lipschitz(drawn, r)
    assert first == pytest.approx(2 / s**2 * ((1 - q) ** -2 - 1) / r, rel=1e-12)
    assert second == pytest.approx(s**2 * ((1 + q) ** 2 - 1) / r, rel=1e-12)


def test_the_points_are_on_the_boundary_and_half_way():
    drawn = instance(1)
    away, F = boundary(drawn, 0.4) - np.array(drawn.center), fisher(drawn, np.array(drawn.center))
    lengths = np.sqrt(np.einsum("ai,ij,aj->a", away, F, away))
    assert np.allclose(lengths[: len(lengths) // 2], 0.4) and np.allclose(lengths[len(lengths) // 2 :], 0.2)


@pytest.mark.parametrize(
    "arguments, cause",
    [
        (((0.0, 0.0), 0.5), "the second positive"),
        (((0.0, -1.0), 0.5), "the second positive"),
        (((0.0,), 0.5), "pass two numbers"),
        (((0.0, 1.0), 0.0), "epsilon = 0.0 is not positive"),
        (((float("nan"), 1.0), 0.5), "not a vector of finite numbers"),
        (((0.0, 0.0), 0.5, ((1.0, 1.0), (2.0, 2.0))), "the Fisher at center is singular"),
        (((0.0,), 0.5, ((1.0, 1.0), (2.0, 2.0))), "different dimensions"),
    ],
)
def test_bad_input_is_an_error(arguments, cause):
    with pytest.raises(ValueError, match=cause):
        Instance(*arguments)
