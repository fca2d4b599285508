"""Metrics: the field θ ↦ norm (or divergence) whose ball of radius ``rho`` is searched. One file each."""

from ..damping import Relative
from .blockwise import Blockwise
from .diagonal_empirical_fisher import DiagonalEmpiricalFisher
from .empirical_fisher import EmpiricalFisher
from .euclidean import Euclidean
from .fisher import Exact, Fisher
from .gradient_magnitude import GradientMagnitude
from .kl_exact import KLDivergence, KLExact
from .monge import Monge
from .parameter_scaled import ParameterScaled

__all__ = [
    "Blockwise",
    "DiagonalEmpiricalFisher",
    "EmpiricalFisher",
    "Euclidean",
    "Exact",
    "Fisher",
    "GradientMagnitude",
    "KLDivergence",
    "KLExact",
    "Monge",
    "ParameterScaled",
    "Relative",
]
