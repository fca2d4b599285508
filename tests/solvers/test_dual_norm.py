"""The closed form in a ball, and what is zero or not finite."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import geosam
from geosam.core import vectors as vec
from geosam.norms import Identity, MatrixFree, Spectral, Sup
from geosam.solvers import DualNorm
from tests.networks import draw
from tests.placement import reads_switched_off


@given(st.floats(1e-3, 1), st.integers(0, 2**32 - 1), st.sampled_from([Identity(), Sup(), Spectral()]))
def test_dual_norm_puts_epsilon_on_the_sphere(rho, seed, norm):
    c = [draw(3, 2, seed=seed), draw(4, seed=seed + 1)]
    pert = DualNorm().solve(norm, c, rho)
    assert norm.norm(pert.epsilon).item() == pytest.approx(rho, rel=1e-5)
    assert vec.dot(c, pert.epsilon).item() == pytest.approx(rho * pert.dual_norm.item(), rel=1e-5)
    assert pert.radius == rho and pert.finite


@pytest.mark.parametrize("norm", [Identity(), Sup(), Spectral(), MatrixFree(lambda v: v, [torch.zeros(3)], 0.5)], ids=repr)
@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_zero_and_what_is_not_finite_give_zero(norm, bad):
    c = [torch.full((3,), bad)]
    pert = geosam.solve(norm, c, 0.1)
    assert pert.finite == (bad == 0) and pert.radius == 0
    assert torch.equal(pert.epsilon[0], torch.zeros(3))


@pytest.mark.parametrize("norm", [Identity(), Sup()], ids=repr)
@pytest.mark.parametrize("decade", [-25, -12, 0, 9, 18])
def test_the_length_is_right_at_every_scale_of_float32_without_reads(decade, norm):
    c = [draw(40, 30) * 10.0**decade, draw(7) * 10.0**decade]
    theta = [torch.zeros_like(t) for t in c]
    with reads_switched_off():
        pert = geosam.solve(norm, c, 0.05)
        vec.axpy_(theta, pert.scale, pert.direction, pert.finite)
    for epsilon in (pert.epsilon, theta):
        assert norm.norm(epsilon).item() == pytest.approx(0.05, rel=1e-5)
    assert pert.radius == 0.05


def test_a_covector_of_denormal_numbers_counts_as_zero_without_reads_and_says_so():
    with reads_switched_off():
        pert = geosam.solve(Identity(), [torch.full((3,), 1e-44)], 0.05)
        assert pert.finite and pert.radius == 0 and not pert.epsilon[0].any()
