"""calibrate: radii at which every geometry spends the same, and when there is none."""

import math

import pytest
import torch
from torch import nn

import geosam
from geosam import metrics
from geosam.observation import PredictiveDistribution, as_metric


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


@pytest.mark.parametrize("metric", GEOMETRIES, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("match", [geosam.KL(1e-3), geosam.Length(0.03), geosam.Rise(0.01)], ids=lambda m: type(m).__name__)
def test_calibrated_radii_match(metric, match):
    _, bound = problem()
    rho, metric = geosam.calibrate(bound, metric, match), as_metric(metric)
    seen = geosam.observe(bound, (*metric.needs, PredictiveDistribution()))
    epsilon = geosam.solve(metric.at(seen), seen.gradient, rho).epsilon
    # a divergence's own budget is met to 1 % of the radius, hence 2 % of KL
    tolerance = 0.03 if isinstance(metric, metrics.KLExact) else 2e-3
    assert match.measure(bound, seen, epsilon) == pytest.approx(match.value, rel=tolerance)


def test_calibrate_says_when_the_quantity_saturates():
    _, bound = problem()
    with pytest.raises(ValueError, match="saturates"):
        geosam.calibrate(bound, metrics.Euclidean(), geosam.KL(1e9))


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_what_cannot_be_matched_is_refused(value):
    with pytest.raises(ValueError, match="finite and positive"):
        geosam.KL(value)


def test_calibrate_needs_a_gradient():
    model, bound = problem()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    flat = geosam.Problem(model, nn.MSELoss()).on(bound.x, torch.zeros(20, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match="gradient is zero"):
        geosam.calibrate(flat, metrics.Euclidean(), geosam.KL(1e-3))


def test_of_several_batches_it_is_the_geometric_mean():
    model, bound = problem()
    parts = [geosam.Problem(model, nn.CrossEntropyLoss()).on(bound.x[i : i + 10], bound.y[i : i + 10]) for i in (0, 10)]
    one, other = (geosam.calibrate(part, metrics.Monge(), geosam.KL(1e-3)) for part in parts)
    assert one != other
    assert geosam.calibrate(parts, metrics.Monge(), geosam.KL(1e-3)) == pytest.approx(math.sqrt(one * other))
    with pytest.raises(ValueError, match="not one batch"):
        geosam.calibrate([], metrics.Monge(), geosam.KL(1e-3))
    with pytest.raises(TypeError, match=r"problem\.on"):
        geosam.calibrate([parts[0], (bound.x, bound.y)], metrics.Monge(), geosam.KL(1e-3))  # type: ignore[list-item]
