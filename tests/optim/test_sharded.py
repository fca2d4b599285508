"""Parameters that processes divide among them: a step is that of one process on the big batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import metrics, norms, objectives, passes, solvers, updates
from geosam.metrics.parameter_scaled import matrices
from tests.optim.sharded import (
    X,
    Y,
    by_layers,
    closure,
    full,
    gap,
    hybrid,
    in_tensors,
    network,
    on_two_dimensions,
    optimizer,
    share,
)
from tests.ranks import together

STEPS = 2

GRADIENT = {
    "Euclidean": {"metric": metrics.Euclidean()},
    "ParameterScaled": {"metric": metrics.ParameterScaled()},
    "GradientMagnitude": {"metric": metrics.GradientMagnitude()},
    "Monge": {"metric": metrics.Monge()},
    "LayerWise": {"metric": metrics.LayerWise()},
    "FilterWise": {"metric": metrics.FilterWise(filters=matrices)},
    "Sup": {"metric": norms.Sup()},
    "Blockwise": {"metric": metrics.Blockwise({"*.bias": (metrics.Euclidean(), 0.5), "*": (metrics.ParameterScaled(), 1.0)})},
    "Averaged": {"metric": metrics.Averaged(metrics.GradientMagnitude(), 0.5), "objective": objectives.Smoothed(0.8)},
    "Residual": {"objective": objectives.Residual()},
    "NoiseWeighted": {"objective": objectives.NoiseWeighted()},
    "Preconditioned": {"objective": objectives.Preconditioned(metrics.GradientMagnitude())},
    "MultiStep": {"solver": solvers.MultiStep(2)},
    "LinearRise": {"solver": solvers.LinearRise(0.05)},
    "SurrogateGap": {"update": updates.SurrogateGap(0.3)},
    "Natural": {"update": updates.Natural(metrics.GradientMagnitude())},
    "Momentum": {"passes": passes.Momentum()},
    "Every": {"passes": passes.Every(2, again=True)},
}


def trained(parts: dict[str, Any], dtype: torch.dtype) -> tuple[Any, ...]:
    """(weights, ε*, dual norm) of one process on the big batch."""
    model = network(dtype)
    opt = optimizer(model, parts)
    for _ in range(STEPS):
        opt.step(closure(opt, model, X.to(dtype), Y))
    weights = full(model.parameters())
    with opt.perturbed(closure(opt, model, X.to(dtype), Y)) as p:
        return weights, full(p.epsilon), p.last.dual_norm


Row = tuple[str, torch.dtype, str, Callable[..., nn.Module]]


def follows(expected: dict[Any, Any], row: Row, size: int) -> None:
    name, dtype, route, divide = row
    model = divide(network(dtype), size)
    x, y = share(X.to(dtype), divide), share(Y, divide)
    opt = optimizer(model, GRADIENT[name])
    problem = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
    for _ in range(STEPS):
        if route == "perturb":
            opt.zero_grad()
            opt.perturb(problem)
            F.cross_entropy(model(x), y).backward()
            opt.base.step()
        else:
            opt.step(problem if route == "problem" else closure(opt, model, x, y))
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    weights, epsilon, dual = expected[name, dtype]
    said = f"{name}, {route}, {divide.__name__}, {dtype}"
    assert (apart := gap(full(model.parameters()), weights)) < tolerance, (said, apart)
    with opt.perturbed(problem if route == "problem" else closure(opt, model, x, y)) as p:
        held = opt.param_groups[0]["params"]
        assert [getattr(e, "placements", None) for e in p.epsilon] == [getattr(q, "placements", None) for q in held]
        assert (apart := gap(full(p.epsilon), epsilon)) < tolerance, (said, apart)
        torch.testing.assert_close(p.last.dual_norm, dual, rtol=1e-5, atol=0, equal_nan=True)


QUICK: list[Row] = [
    ("Euclidean", torch.float64, "perturb", by_layers),
    ("Euclidean", torch.float64, "problem", in_tensors),
    ("FilterWise", torch.float64, "closure", in_tensors),
    ("Averaged", torch.float64, "closure", by_layers),
    ("Sup", torch.float32, "closure", by_layers),
]
KINDS = [(name, torch.float64) for name in GRADIENT] + [(name, torch.float32) for name in ("Euclidean", "Sup", "LayerWise")]


def every_row(size: int) -> list[Row]:
    ways = (by_layers, in_tensors) if size < 4 else (by_layers, in_tensors, hybrid, on_two_dimensions)
    rows: list[Row] = [(name, dtype, "closure", divide) for name, dtype in KINDS for divide in ways]
    return rows + [("Euclidean", torch.float64, route, divide) for route in ("problem", "perturb") for divide in ways]


def write_big_batches(folder: Path, rows: list[Row]) -> None:
    torch.save(
        {kind: trained(GRADIENT[kind[0]], kind[1]) for kind in {(row[0], row[1]) for row in rows}}, folder / "expected.pt"
    )


def follow(folder: Path, rows: list[Row], size: int) -> None:
    expected = torch.load(folder / "expected.pt")
    for row in rows:
        follows(expected, row, size)


def compare(folder: Path, rows: list[Row], size: int) -> None:
    write_big_batches(folder, rows)
    together(folder, size, follow, folder, rows, size)


def test_some_rows(tmp_path):
    compare(tmp_path, QUICK, 2)


@pytest.mark.slow
@pytest.mark.parametrize("divide", [by_layers, in_tensors, hybrid, on_two_dimensions])
@pytest.mark.parametrize("size", [2, 4])
def test_every_row(tmp_path, size, divide):
    """By one way of dividing at a time: 4 processes take 20 s of processor time each for one."""
    rows = [row for row in every_row(size) if row[3] is divide]
    if rows:
        compare(tmp_path, rows, size)
