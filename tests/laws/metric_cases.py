"""Every metric and objective of the library, with its definition and the tolerance that its arithmetic allows."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from geosam import metrics, objectives
from geosam.metrics import Relative
from tests.laws import oracles

FIRST = "0.weight"


@dataclass(frozen=True)
class Case:
    """dense: bound problem ↦ G in float64. exact, rounded: the tolerance in float64 and float32. share: of the profile's
    examples, where one is slow."""

    name: str
    metric: object
    dense: Callable | None = None
    exact: float = 1e-10
    rounded: float = 1e-4
    share: float = 1.0


def everywhere(name, parameter):
    return True


def matrices(name, parameter):
    """Weights of linear layers and convolutions; what KFAC does not cover has one dimension here."""
    return parameter.dim() > 1


REST = metrics.Euclidean()


def label(value):
    """Its repr without addresses, which differ from process to process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def negated_twice(c):
    return [t.neg().neg() for t in c]


def two_blocks(first, rest, p=2.0, weights=(1.0, 1.0)):
    return metrics.Blockwise({FIRST: (first, weights[0]), "*": (rest, weights[1])}, p)


def empirical(damping, **tolerances):
    name = f"EmpiricalFisher({damping})"
    return Case(name, metrics.EmpiricalFisher(damping), oracles.empirical_fisher(damping), **tolerances)


def fisher(name, metric, damping, **tolerances):
    return Case(name, metric, oracles.fisher(damping), share=0.2, **tolerances)


CASES = [
    Case("Euclidean", metrics.Euclidean(), oracles.euclidean),
    Case("ParameterScaled", metrics.ParameterScaled(), oracles.parameter_scaled(0.01, 2)),
    Case("ParameterScaled(1, everywhere)", metrics.ParameterScaled(1.0, everywhere), oracles.parameter_scaled(1.0, 0)),
    Case("FilterWise", metrics.FilterWise(), oracles.filter_wise(0.01, 3)),
    Case("FilterWise, rows too", metrics.FilterWise(0.1, filters=everywhere), oracles.filter_wise(0.1, 2)),
    Case("LayerWise", metrics.LayerWise(), oracles.layer_wise(0.01)),
    Case("GradientMagnitude(1, 1)", metrics.GradientMagnitude(1.0, 1.0), oracles.gradient_magnitude(1.0, 1.0)),
    Case("GradientMagnitude(1, 1e-6)", metrics.GradientMagnitude(1.0, 1e-6), oracles.gradient_magnitude(1.0, 1e-6)),
    Case("DiagonalEmpiricalFisher", metrics.DiagonalEmpiricalFisher(), oracles.diagonal_empirical_fisher(Relative(0.1))),
    Case(
        "DiagonalEmpiricalFisher(1e-8)",
        metrics.DiagonalEmpiricalFisher(1e-8),
        oracles.diagonal_empirical_fisher(1e-8),
        rounded=1e-3,
    ),
    # what damping does to the arithmetic is a matter of LowRank, whose cases have more of it
    empirical(1e-2, rounded=1e-3),
    empirical(1e-8, exact=1e-4, rounded=1e-1),
    empirical(Relative(0.1), rounded=1e-3),
    Case("Monge", metrics.Monge(), oracles.monge, rounded=1e-3),
    fisher("Fisher", metrics.Fisher(tolerance=1e-9), Relative(0.1), exact=1e-6, rounded=1e-3),
    fisher("Fisher(0.01), solved loosely", metrics.Fisher(0.01), 0.01, exact=2e-2, rounded=2e-2),
    fisher("Fisher(1e-6)", metrics.Fisher(1e-6), 1e-6, exact=1e-6, rounded=3e-2),
    fisher("Fisher, matrix-free", metrics.Fisher(tolerance=1e-9, rows_limit=0), Relative(0.1), exact=1e-6, rounded=1e-3),
    Case("Fisher, Monte Carlo", metrics.Fisher(0.1, metrics.MonteCarlo(2)), rounded=1e-3, share=0.5),
    Case(
        "Fisher, Monte Carlo, matrix-free",
        metrics.Fisher(0.1, metrics.MonteCarlo(2), tolerance=1e-9, rows_limit=0),
        exact=1e-6,
        rounded=1e-3,
        share=0.2,
    ),
    Case("DiagonalFisher", metrics.DiagonalFisher(), oracles.diagonal_fisher(Relative(0.1)), share=0.5),
    Case("DiagonalFisher, Monte Carlo", metrics.DiagonalFisher(0.1, metrics.MonteCarlo(2)), share=0.5),
    Case(
        "BlockDiagonal(Fisher)",
        metrics.BlockDiagonal(metrics.Fisher(0.1)),
        oracles.by_module(oracles.fisher(0.0), 0.1),
        rounded=1e-3,
        share=0.5,
    ),
    Case(
        "KroneckerFisher",
        metrics.KroneckerFisher(rest=metrics.Euclidean()),
        oracles.kronecker_fisher(Relative(0.1)),
        rounded=1e-3,
        share=0.3,
    ),
    Case("KroneckerFisher, Monte Carlo", metrics.KroneckerFisher(0.1, metrics.MonteCarlo(2), metrics.Euclidean()), share=0.3),
    Case(
        "KroneckerFisher, empirical",
        metrics.KroneckerFisher(Relative(0.1), metrics.Empirical(), metrics.Euclidean()),
        oracles.kronecker_fisher(Relative(0.1), oracles.the_data_s_label),
        rounded=1e-3,
        share=0.3,
    ),
    Case(
        "Averaged(KroneckerFisher)",
        metrics.Blockwise({matrices: (metrics.Averaged(metrics.KroneckerFisher(0.1)), 1.0), everywhere: (REST, 1.0)}),
        oracles.on_matrices(oracles.kronecker_fisher(0.1)),
        rounded=1e-3,
        share=0.3,
    ),
    Case(
        "Averaged(DiagonalFisher)",
        metrics.Averaged(metrics.DiagonalFisher()),
        oracles.diagonal_fisher(Relative(0.1)),
        share=0.5,
    ),
    Case(
        "Averaged(ParameterScaled)",
        metrics.Averaged(metrics.ParameterScaled()),
        oracles.parameter_scaled(0.01, 2),
    ),
    Case(
        "Blockwise, p = 2",
        two_blocks(metrics.EmpiricalFisher(1e-2), metrics.Monge(), weights=(0.1, 3.0)),
        None,
        rounded=1e-3,
    ),
    Case(
        "Blockwise of diagonals, p = 2",
        two_blocks(metrics.ParameterScaled(), metrics.DiagonalEmpiricalFisher(1e-2), weights=(0.1, 3.0)),
        oracles.blockwise(oracles.parameter_scaled(0.01, 2), oracles.diagonal_empirical_fisher(1e-2), (0.1, 3.0)),
    ),
    Case(
        "Blockwise, p = ∞",
        two_blocks(metrics.EmpiricalFisher(1e-2), metrics.GradientMagnitude(), math.inf, (0.1, 3.0)),
        rounded=1e-3,
    ),
    Case("KLExact", metrics.KLExact()),
    Case("KLExact along Fisher", metrics.KLExact(along=metrics.Fisher(0.01)), share=0.2),
    Case("KLExact along GradientMagnitude", metrics.KLExact(along=metrics.GradientMagnitude())),
]

OBJECTIVES = [
    objectives.Gradient(),
    objectives.Eigen(),
    objectives.Smoothed(0.9),
    objectives.Smoothed(0.0),
    objectives.Residual(),
    objectives.Residual(0.5, 0.6),
    objectives.NoiseWeighted(),
    objectives.NoiseWeighted(0.5, 0.5, 1e-3),
    objectives.Preconditioned(metrics.DiagonalEmpiricalFisher()),
    objectives.Preconditioned(metrics.EmpiricalFisher(), objectives.Smoothed(0.5)),
    objectives.Preconditioned(negated_twice, objectives.Residual()),
]
