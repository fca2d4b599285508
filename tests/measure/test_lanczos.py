"""Lanczos for the largest eigenvalue of a pencil, on matrices: every spectrum, the residual, and what is wrong."""

import math

import pytest
import torch

from geosam import norms
from geosam.core import vectors as vec
from geosam.measure import lanczos as _lanczos
from tests.networks import draw

FLOAT64 = torch.float64


class Dense:
    """Lanczos on matrices: H, and G as a norm."""

    def __init__(self, h, g=None):
        self.h, self.like = h, [torch.zeros(len(h), dtype=FLOAT64)]
        self.norm = norms.Identity() if g is None else norms.Diagonal.of([g])

    def largest(self, **options):
        start = [draw(len(self.h), seed=1, dtype=FLOAT64)]
        return _lanczos.largest(lambda v: [self.h @ v[0]], self.norm, start, **options)


@pytest.mark.parametrize("values", [[3.0, 1.0, -5.0], [-1.0, -2.0, -7.0], [0.0, 0.0, 0.0], [2.0, 2.0, 2.0], [1.0, 1.0, 0.0]])
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e18])
def test_the_largest_is_the_algebraically_largest_whatever_the_spectrum(values, scale):
    turn = torch.linalg.qr(draw(3, 3, seed=2, dtype=FLOAT64))[0]
    h = turn @ torch.diag(torch.tensor(values, dtype=FLOAT64) * scale) @ turn.T
    ritz = Dense(h).largest(tolerance=1e-10)
    assert ritz.value == pytest.approx(max(values) * scale, rel=1e-10, abs=1e-13 * scale)
    assert ritz.converged and ritz.iterations <= 3


def test_reorthogonalised_it_finds_no_ghosts_among_crowded_eigenvalues():
    """A spectrum that makes plain Lanczos lose orthogonality: the basis stays G-orthonormal to rounding."""
    size = 120
    values = torch.cat([torch.tensor([1e6]), torch.linspace(0, 1, size - 1, dtype=FLOAT64) ** 8])
    g = torch.logspace(-3, 3, size, dtype=FLOAT64)
    ritz = Dense(torch.diag(values * g), g).largest(iterations=size, tolerance=0.0)
    assert ritz.value == pytest.approx(1e6, rel=1e-12)
    second = Dense(torch.diag(values[1:] * g[1:]), g[1:]).largest(iterations=60, tolerance=1e-9)
    assert second.value == pytest.approx(values[1:].max().item(), rel=1e-8)


def test_lanczos_says_what_is_wrong():
    with pytest.raises(FloatingPointError, match="not finite"):
        Dense(torch.full((2, 2), math.nan, dtype=FLOAT64)).largest()
    with pytest.raises(ValueError, match="singular or not finite"):
        _lanczos.largest(lambda v: v, norms.Identity(), [torch.zeros(3)])


class Unorthogonal(norms.Identity):
    """A flat that sees nothing: the basis is not made orthogonal."""

    def flat(self, v):
        return vec.zeros_like(v)

    def norm(self, v):
        return vec.norm(v)


class Reversed(norms.Identity):
    """♯ = −I spans the same Krylov space."""

    def sharp(self, c):
        return vec.scale(c, -1.0)


def test_a_basis_that_is_not_orthonormal_is_seen_and_a_wrong_sign_of_sharp_harms_nothing():
    h = torch.diag(torch.linspace(-1, 3, 12, dtype=FLOAT64))
    start = [draw(12, seed=1, dtype=FLOAT64)]

    def run(norm):
        return _lanczos.largest(lambda v: [h @ v[0]], norm, start, 12, 1e-9)

    assert run(norms.Identity()).value == pytest.approx(3.0, rel=1e-12)
    assert run(Reversed()).value == pytest.approx(3.0, rel=1e-12)
    wrong = run(Unorthogonal())
    assert abs(wrong.value - 3.0) > 0.1 and not wrong.converged
