"""compare and calibrate: the numbers mean what they say, and nothing is left behind."""

import pytest
import torch
from torch import nn

import geosam
from geosam import metrics
from geosam.observation import PredictiveDistribution
from tests.networks import labels


def problem(dtype=torch.float64, dropout=False, norm=False):
    torch.manual_seed(0)
    layers = [nn.Linear(6, 12), nn.BatchNorm1d(12) if norm else nn.Identity(), nn.Tanh(), nn.Dropout(0.3 if dropout else 0.0)]
    model = nn.Sequential(*layers, nn.Linear(12, 4)).to(dtype)
    x = torch.randn(20, 6, dtype=dtype)
    return model, geosam.Problem(model, nn.CrossEntropyLoss()).on(x, torch.randint(4, (20,)))


GEOMETRIES = [
    metrics.Euclidean(),
    metrics.ParameterScaled(),
    metrics.GradientMagnitude(damping=1e-4),
    metrics.DiagonalEmpiricalFisher(1e-2),
    metrics.EmpiricalFisher(1e-2),
    metrics.Fisher(1e-2),
    metrics.Monge(),
    metrics.KLExact(),
    geosam.norms.Sup(),
    geosam.norms.Spectral(),
    metrics.Blockwise({"*.bias": (metrics.Euclidean(), 0.1), "*": (metrics.EmpiricalFisher(1e-2), 1.0)}),
]


def test_efficiency_is_at_most_one_and_reached_by_the_true_fisher():
    _, bound = problem()
    undamped = {type(m).__name__: m for m in [*GEOMETRIES[:5], metrics.Fisher(1e-9, tolerance=1e-8, iterations=300)]}
    comparison = geosam.compare(bound, undamped, match=geosam.KL(1e-9))
    efficiency = {row.name: row.efficiency for row in comparison.rows}
    assert all(e <= 1.002 for e in efficiency.values())
    assert efficiency["Fisher"] > 0.99
    assert efficiency["Euclidean"] < 0.9


def test_numbers_of_a_row_agree_with_their_definitions():
    model, bound = problem()
    row = geosam.compare(bound, [metrics.Euclidean()], rho=0.05).rows[0]
    seen = geosam.observe(bound, (PredictiveDistribution(),))
    g = torch.cat([t.flatten() for t in seen.gradient])
    assert row.rho == 0.05 and row.length == pytest.approx(0.05)
    assert row.predicted_rise == pytest.approx(0.05 * g.norm().item())
    epsilon = geosam.solve(geosam.norms.Identity(), seen.gradient, 0.05).epsilon
    before, old = bound.loss(model(bound.x), bound.y).item(), torch.distributions.Categorical(logits=model(bound.x).detach())
    with torch.no_grad():
        for p, e in zip(model.parameters(), epsilon, strict=True):
            p.add_(e)
        new = torch.distributions.Categorical(logits=model(bound.x))
        assert row.actual_rise == pytest.approx(bound.loss(model(bound.x), bound.y).item() - before, rel=1e-6)
    kl = torch.distributions.kl_divergence(new, old).mean().item()
    assert row.kl == pytest.approx(kl, rel=1e-6) and row.spent == pytest.approx(kl / (0.05**2 / 2), rel=1e-6)
    assert sum(row.share.values()) == pytest.approx(1.0) and set(row.share) == {"0", "4"}


def test_the_published_fisher_sam_is_sam():
    _, bound = problem()
    comparison = geosam.compare(bound, {"SAM": metrics.Euclidean(), "FSAM": metrics.GradientMagnitude()}, rho=0.05)
    assert 0 < 1 - comparison.cosine[0][1] < 1e-4
    assert comparison.rows[1].length == pytest.approx(0.05, rel=1e-2)


def test_equal_directions_show_as_rounding():
    _, bound = problem(torch.float32)
    comparison = geosam.compare(
        bound, [metrics.Euclidean(), metrics.KLExact(along=metrics.Euclidean()), metrics.Monge()], rho=0.05
    )
    assert all(abs(1 - c) < 1e-12 for row in comparison.cosine for c in row)


def test_comparison_is_plain_data_and_prints_as_a_table():
    _, bound = problem()
    comparison = geosam.compare(bound, [metrics.Euclidean(), metrics.Monge()], rho=0.05)
    data = comparison.to_dict()
    assert data["rows"][1]["name"] == "Monge" and len(data["cosine"]) == 2
    text = str(comparison)
    assert "efficiency" in text and "1 - cosine" in text and text.count("Monge") == 2


def test_without_a_distribution_kl_is_unknown_not_zero():
    model, bound = problem()
    absolute = geosam.Problem(model, nn.L1Loss()).on(bound.x, torch.zeros(20, 4, dtype=torch.float64))
    row = geosam.compare(absolute, [metrics.Euclidean()], rho=0.05).rows[0]
    assert row.kl is row.efficiency is row.spent is None and row.actual_rise > 0
    assert "-" in str(geosam.compare(absolute, [metrics.Euclidean()], rho=0.05))


def test_either_a_radius_or_a_match():
    _, bound = problem()
    for kwargs in ({}, {"rho": 0.1, "match": geosam.KL(1e-3)}):
        with pytest.raises(ValueError, match="either rho"):
            geosam.compare(bound, [metrics.Euclidean()], **kwargs)


def test_nothing_is_left_behind_and_dropout_has_one_mask():
    model, bound = problem(dropout=True, norm=True)
    model(bound.x).sum().backward()
    kept = {name: t.clone() for name, t in model.state_dict().items()}
    gradients, stream = [p.grad.clone() for p in model.parameters()], torch.get_rng_state()
    geometries = [metrics.Euclidean(), metrics.Fisher(0.1), metrics.KLExact(along=metrics.GradientMagnitude())]
    comparison = geosam.compare(bound, geometries, match=geosam.KL(1e-4))
    assert all(row.kl == pytest.approx(1e-4, rel=0.03) for row in comparison.rows)
    assert all(torch.equal(t, kept[name]) for name, t in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), stream)


def test_extra_bytes_see_what_materialised_rows_cost():
    model, bound = problem(torch.float32)
    rows = geosam.compare(bound, [metrics.Euclidean(), metrics.EmpiricalFisher(1e-2)], rho=0.05).rows
    size = 4 * sum(p.numel() for p in model.parameters())
    assert size <= rows[0].extra_bytes <= 6 * size + 20_000
    assert rows[1].extra_bytes >= 20 * size


def test_sparse_gradients_have_no_storage_and_are_measured():
    model = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Linear(3, 3))
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(labels(6), labels(6, seed=3))
    (row,) = geosam.compare(bound, [geosam.metrics.Euclidean()], rho=0.1).rows
    assert row.length == pytest.approx(0.1) and row.extra_bytes > 0
