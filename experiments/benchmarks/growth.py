"""How a step grows on multilayer perceptrons: its time and peak memory over the batch size, and over the parameters."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch import nn

import geosam

from ..common.memory import peak_bytes
from ..common.timing import race
from ..networks.mlp import mlp
from .fisher_cost import METRICS, SGD, stepping
from .memory import RHO

ALLOCATORS = ("pinned",)
NAMES = ("Euclidean", "EmpiricalFisher", "DiagonalEmpiricalFisher")
SIZES, WIDTH = (32, 64, 128, 256, 512, 1024, 2048, 4096), 512
WIDTHS, N = (64, 128, 256, 512, 1024, 2048), 128
VOID = 0.05
"""The A/A difference above which a point says nothing: a slope over two decades tolerates more noise than a ratio."""

Rows = dict[str, dict[str, float]]


def run(quick: bool, allocator: str) -> dict[str, Any]:
    """Both sweeps, and what is read from them."""
    sizes, widths = (SIZES[:3], WIDTHS[:3]) if quick else (SIZES, WIDTHS)
    seconds = 0.2 if quick else 20.0
    by_n = {str(n): point(n, WIDTH, seconds) for n in sizes}
    by_parameters = {str(row["parameters"]): row for row in (point(N, width, seconds) for width in widths)}
    worst = max(row["aa_difference"] for row in [*by_n.values(), *by_parameters.values()])
    network = {
        "over n": f"784-{WIDTH}-{WIDTH}-10",
        "over parameters": f"784-w-w-10 at n = {N}, w = {widths[0]} to {widths[-1]}",
    }
    return {
        "settings": {"base": {"class": "SGD", **SGD}, "rho": RHO, **network},
        "over n": by_n,
        "over parameters": by_parameters,
        **read(by_n, by_parameters),
        "noise": {"aa_difference": worst, "void": worst > VOID},
    }


def point(n: int, width: int, seconds: float) -> dict[str, float]:
    """Medians, and peak bytes over what a step finds. rows_mb: what the per-sample Jacobian would take."""
    torch.manual_seed(0)
    model = mlp(784, width, width, 10)
    problem = geosam.Problem(model, nn.CrossEntropyLoss()).on(torch.randn(n, 784), torch.randint(10, (n,)))
    floor, *jobs = (stepping(name, model, METRICS[name], problem) for name in NAMES)
    raced = race(floor, jobs, 31, warmup=1, until=time.monotonic() + seconds)
    count = sum(p.numel() for p in model.parameters())
    row = {"n": n, "parameters": count, "rows_mb": round(4 * n * count / 2**20, 1)}
    row |= {key: raced[key] for key in ("rounds", "aa_difference")}
    for job in (floor, *jobs):
        job.prepare()
        row[f"{job.name}_ms"] = raced["jobs"][job.name]["process_ms"]
        row[f"{job.name}_mb"] = round(peak_bytes(job.run, torch.device("cpu")) / 2**20, 1)
    return row


def read(by_n: Rows, by_parameters: Rows) -> dict[str, Any]:
    """Growth in the parameters; in n, of whole steps and of what they cost over the Euclidean one; peaks."""
    count, n = _column(by_parameters, "parameters"), _column(by_n, "n")
    last = list(by_n.values())[-1]
    lines, polynomials, peaks = {}, {}, {}
    for name in NAMES:
        whole = _column(by_n, f"{name}_ms")
        lines[name] = line(count, _column(by_parameters, f"{name}_ms"))
        polynomials[name] = polynomial(n, whole, whole)
        if name != NAMES[0]:
            polynomials[f"{name} over {NAMES[0]}"] = polynomial(n, whole - _column(by_n, f"{NAMES[0]}_ms"), whole)
        peak = last[f"{name}_mb"]
        matrices = round(peak * 2**20 / (8 * last["n"] ** 2), 1)
        peaks[name] = {"mb": peak, "of the rows": round(peak / last["rows_mb"], 4), "n×n in float64": matrices}
    return {"in the parameters": lines, "in n": polynomials, "peak at the largest n": peaks}


def line(count: np.ndarray, times: np.ndarray) -> dict[str, float]:
    """t ≈ a + bP with a, b ≥ 0, by least squares of relative errors, the largest of which is the misfit.

    exponent: the slope through (log P, log t), over all and over the larger half, where a weighs less.
    """
    a, b = nonnegative(count, times, times, 1)
    misfit, half = np.abs((a + b * count) / times - 1).max(), len(count) // 2
    found = {"exponent": _slope(count, times), "larger half": _slope(count[half:], times[half:])}
    return {name: _digits(value) for name, value in {**found, "a_ms": a, "b_ns": 1e6 * b, "misfit": misfit}.items()}


def polynomial(n: np.ndarray, times: np.ndarray, noise: np.ndarray) -> dict[str, float | None]:
    """t ≈ a + bn + cn² + dn³, none negative, by least squares of errors over ``noise``, the times in which these were seen.

    crossover: n* = b/c, above which the quadratic part (the Gram matrix) is larger than the linear one, and c/d, above which
    the cubic (its factorisation) is larger than that; None for never. misfit: the largest error, over noise. doubling: log₂ of
    what the last doubling of n multiplies the time by.
    """
    a, b, c, d = nonnegative(n, times, noise, 3)
    misfit = np.abs((a + b * n + c * n**2 + d * n**3 - times) / noise).max()
    found = {"a_ms": a, "b_us": 1e3 * b, "c_ns": 1e6 * c, "d_ps": 1e9 * d, "misfit": misfit}
    found |= {"crossover": b / c if c else None, "to n³": c / d if d else None}
    found["doubling"] = _slope(n[-2:], times[-2:]) if min(times[-2:]) > 0 else None
    return {name: None if value is None else _digits(value) for name, value in found.items()}


def nonnegative(x: np.ndarray, y: np.ndarray, noise: np.ndarray, degree: int) -> np.ndarray:
    """The polynomial's coefficients, constant first: least squares of (fit − y)/noise under coefficients ≥ 0."""
    top = x.max()  # powers of x/top are of one size
    powers = np.vander(x / top, degree + 1, increasing=True)
    return nnls(powers / noise[:, None], y / noise)[0] / top ** np.arange(degree + 1)


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _column(rows: Rows, key: str) -> np.ndarray:
    return np.array([row[key] for row in rows.values()], dtype=float)


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
