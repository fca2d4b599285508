"""KL between the posterior and a prior, against torch and against sampling; and its bound by ε_min."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal, kl_divergence

from theory.pac_bayes.gaussian_kl import Instance, check, check_bound, expected_log_ratio, instance, terms
from theory.pac_bayes.inputs import random_definite, rows
from theory.verdict import Outcome


@st.composite
def instances(draw):
    """Up to a condition of 10⁸, scales from 10⁻⁶ to 10⁶, and posteriors from far to equal."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    k = draw(st.integers(1, 5))
    scale = 10.0 ** draw(st.integers(-6, 6))
    prior = random_definite(rng, k, draw(st.sampled_from([0.0, 1.0, 4.0]))) * scale
    near = np.linalg.cholesky(prior)
    posterior = near @ random_definite(rng, k, draw(st.sampled_from([0.0, 0.3, 2.0]))) @ near.T
    shift = rng.normal(size=k) * draw(st.sampled_from([0.0, 1.0, 100.0])) / scale**0.5
    return Instance(rows((posterior + posterior.T) / 2), rows(prior), tuple(shift.tolist()), 10.0 ** draw(st.integers(-3, 3)))


def normal(center, precision, rho):
    return MultivariateNormal(torch.as_tensor(center), precision_matrix=torch.as_tensor(precision) / rho**2)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_it_is_the_kl_of_torch(seed):
    drawn = instance(seed)
    posterior, prior, shift = drawn.arrays
    expected = kl_divergence(normal(shift, posterior, drawn.rho), normal(0 * shift, prior, drawn.rho)).item()
    value = (sum(terms(drawn)) - len(shift)) / 2
    assert value == pytest.approx(expected, rel=1e-9, abs=1e-10)
    assert expected_log_ratio(posterior, prior, shift, drawn.rho) == pytest.approx(expected, rel=1e-9, abs=1e-10)


def test_it_is_the_average_log_ratio_of_samples():
    drawn, n = instance(3), 200_000
    posterior, prior, shift = drawn.arrays
    Q, P = normal(shift, posterior, drawn.rho), normal(0 * shift, prior, drawn.rho)
    noise = torch.randn(n, len(shift), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sample = Q.loc + noise @ Q.scale_tril.T
    ratio = Q.log_prob(sample) - P.log_prob(sample)
    value = (sum(terms(drawn)) - len(shift)) / 2
    assert abs(ratio.mean().item() - value) < 6 * ratio.std().item() / n**0.5


@settings(deadline=None)
@given(instances())
def test_no_pair_of_gaussians_refutes_either(drawn):
    assert check(drawn).outcome is Outcome.HOLDS
    assert check_bound(drawn).outcome in (Outcome.HOLDS, Outcome.UNDECIDED)


@given(st.integers(0, 2**31 - 1))
def test_every_second_instance_needs_the_dimension(half):
    drawn = instance(2 * half + 1)
    posterior, prior, shift = drawn.arrays
    epsilon = prior[0, 0] / posterior[0, 0] - 1
    assert expected_log_ratio(posterior, prior, shift, drawn.rho) > 1.1 * epsilon + terms(drawn)[1] / 2


@pytest.mark.parametrize("shift, rho", [(1.0, 1e-160), (1.0, 1e-200), (1e300, 1.0), (0.0, 1e200)])
def test_a_kl_that_overflows_decides_nothing(shift, rho):
    far = Instance(((1.0,),), ((2.0,),), (shift,), rho)
    assert check(far).outcome is check_bound(far).outcome is Outcome.UNDECIDED


def test_equal_gaussians_decide_nothing_about_the_bound():
    same = Instance(((2.0,),), ((2.0,),), (0.0,), 1.0)
    assert check(same).worst_error == 0 and check_bound(same).outcome is Outcome.UNDECIDED


@pytest.mark.parametrize(
    "change, cause",
    [
        ({"posterior": ((1.0, 1.0), (1.0, 1.0))}, "posterior is singular.* Damp it"),
        ({"prior": ((0.0, 0.0), (0.0, 0.0))}, "prior is singular"),
        ({"prior": ((1.0, 0.0), (0.0, -1.0))}, "prior is singular"),
        ({"prior": ((1.0, 2.0), (0.0, 1.0))}, "not a symmetric matrix"),
        ({"prior": ((float("nan"), 0.0), (0.0, 1.0))}, "of finite numbers"),
        ({"shift": (1.0,)}, "different dimensions; pass one k"),
        ({"shift": (1.0, float("inf"))}, "not a vector of finite numbers"),
        ({"rho": 0.0}, "rho = 0.0 is not positive"),
        ({"rho": float("nan")}, "rho = nan is not positive"),
    ],
)
def test_bad_input_is_an_error(change, cause):
    good = {"posterior": ((1.0, 0.0), (0.0, 1.0)), "prior": ((1.0, 0.0), (0.0, 1.0)), "shift": (0.0, 0.0), "rho": 1.0}
    with pytest.raises(ValueError, match=cause):
        Instance(**{**good, **change})
