"""Derivatives of a divergence that knows only its values."""

import torch

import geosam
from geosam.core import vectors as vec
from geosam.norms import Identity

FLOAT64 = torch.float64


def distance(u, v):
    return (vec.norm(vec.add(u, v, -1.0)) / vec.norm(v)).item()


def test_derivatives_of_a_divergence_by_differences():
    """The default of ``Divergence.gradient``, on one whose gradient is known."""
    weights = [torch.tensor([1.0, 3.0], dtype=FLOAT64), torch.tensor([[0.5]], dtype=FLOAT64)]

    class Quartic(geosam.Divergence):
        along = Identity()

        def __call__(self, epsilon):
            return sum((w * e**2 / 2 + e**3 / 7 + e**4).sum() for w, e in zip(weights, epsilon, strict=True))

        def local_norm(self, damping):
            raise AssertionError("not asked for")

    for size in (1e-3, 1.0):
        epsilon = [torch.tensor([0.3, -1.0], dtype=FLOAT64) * size, torch.tensor([[0.7]], dtype=FLOAT64) * size]
        want = [w * e + 3 * e**2 / 7 + 4 * e**3 for w, e in zip(weights, epsilon, strict=True)]
        assert distance(Quartic().gradient(epsilon), want) < 1e-9
    assert vec.norm(Quartic().gradient(vec.zeros_like(weights))) == 0
