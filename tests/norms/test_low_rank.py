"""Products of rows that are tried in float32 first: right at every damping, repeated in float64 where a check says so."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import geosam
from geosam.metrics import Fisher, MonteCarlo
from geosam.norms import LowRank
from geosam.norms.shifted import Shifted
from geosam.rows import Materialised
from tests.fishers import flat, rows_of
from tests.networks import build, draw, labels, mlp
from tests.placement import device

FLOAT64 = torch.float64


def shaped(seed, n=12, size=40):
    return torch.randn(n, size, generator=torch.Generator().manual_seed(seed), dtype=FLOAT64)


def plain(seed):
    return shaped(seed)


def twice(seed):
    """Each row and itself again, but for the 1e-5 in which two augmentations of an image might differ."""
    half = shaped(seed, 6)
    return torch.cat([half, half + 1e-5 * shaped(seed + 1, 6)])


def scaled(seed):
    return shaped(seed) * 10.0 ** torch.linspace(-5, 1, 12, dtype=FLOAT64).unsqueeze(1)


def leaning(seed):
    """All but along one direction."""
    return 1.0 + 1e-4 * shaped(seed)


def solved(rows, damping, outside=None):
    """The error of LowRank in float32 for ♯ of Jᵀ1/n or of another vector, against the same numbers in float64.

    A dense G⁻¹Jᵀ1/n loses what push-through keeps, so the first is by push-through; the second is dense.
    """
    narrow = Materialised([rows.float()])
    wide = rows.float().double()
    c = narrow.pull(torch.full((len(rows),), 1 / len(rows))) if outside is None else [outside.float()]
    found = LowRank(narrow, damping).sharp(c)
    n, eye = len(rows), torch.eye(wide.shape[1], dtype=FLOAT64)
    if outside is None:
        weights = torch.linalg.solve(wide @ wide.T + n * damping * torch.eye(n, dtype=FLOAT64), torch.ones(n, dtype=FLOAT64))
        true = wide.T @ weights
    else:
        true = torch.linalg.solve(wide.T @ wide / n + damping * eye, outside.float().double())
    return ((flat(found) - true).norm() / true.norm()).item()


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([plain, twice, scaled, leaning]), st.integers(0, 2**31), st.sampled_from([1e-2, 1e-4, 1e-6, 1e-8]))
def test_whatever_is_accurate_is_right(make, seed, damping):
    assert solved(make(seed), damping) <= 1e-4


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([plain, twice, scaled]), st.integers(0, 2**31), st.sampled_from([1.0, 1e-2, 1e-4]))
def test_across_the_rows_too(make, seed, damping):
    assert solved(make(seed), damping, outside=shaped(seed + 7, 1).squeeze(0)) <= 1e-4


@pytest.mark.host("a read judges the float32 products")
@pytest.mark.parametrize("make", [twice, leaning])
def test_without_the_judgement_float32_products_would_show(make, monkeypatch):
    """What the judgement is for: the same rows, accepted without it."""
    monkeypatch.setattr(Shifted, "accurate", lambda *_: True)
    assert not all(solved(make(seed), 1e-8) <= 1e-3 for seed in range(5))  # NaN where there is no factor


@pytest.mark.host("a read judges the float32 products")
def test_well_conditioned_rows_are_solved_for_by_float32_products_alone():
    """Half the time: float64 is not asked for where it would change nothing."""
    asked = []

    class Watched(Materialised):
        def accumulate(self, out, precision):
            asked.append(precision)
            super().accumulate(out, precision)

    for make, precisions in ((plain, [torch.float32]), (twice, [torch.float32, FLOAT64])):
        asked.clear()
        rows = Watched([make(0).float()])
        LowRank(rows, 1e-6).sharp(rows.pull(torch.full((12,), 1 / 12)))
        assert asked == precisions


def test_a_look_asks_for_the_same_directions_again():
    """The probes that judge are fixed."""
    rows = Materialised([plain(3).float()])
    norms = [LowRank(rows, 1e-3).sharp(rows.pull(torch.ones(12))) for _ in range(2)]
    assert torch.equal(flat(norms[0]), flat(norms[1]))


@pytest.mark.parametrize("scale", [1e-25, 1e-20, 1e-10, 1.0, 1e10, 1e17])
def test_a_vector_across_the_rows_may_have_any_scale(scale):
    rows = plain(0)
    narrow = LowRank(Materialised([rows.float()]), 1e-2)
    c = shaped(5, 1).squeeze(0)
    wide = rows.float().double()
    true = torch.linalg.solve(wide.T @ wide / 12 + 1e-2 * torch.eye(40, dtype=FLOAT64), c.float().double())
    v, dual = narrow.ascend([(scale * c).float()])
    assert (flat(v) / scale - true).norm() <= 1e-5 * true.norm()
    assert dual.item() == pytest.approx(scale * (c.float().double() @ true).sqrt().item(), rel=1e-5)


@pytest.mark.parametrize("scale", [1e-22, 1e-15, 1e15])
def test_a_vector_of_kindred_rows_may_have_any_scale(scale):
    """Which is met layer by layer, in float32."""
    bound = geosam.Problem(build(mlp), nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
    metric = Fisher(0.1, MonteCarlo(2, torch.Generator(device()).manual_seed(0)))
    seen = geosam.observe(bound, metric.needs)
    norm, even = metric.at(seen), torch.full((6,), 1 / 6)
    plain_dual, scaled_dual = (norm.dual_norm(rows_of(seen).pull(s * even)).item() for s in (1.0, scale))
    assert scaled_dual == pytest.approx(scale * plain_dual, rel=1e-5)
