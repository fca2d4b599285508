"""Metrics: the field θ ↦ norm (or divergence) whose ball of radius ``rho`` is searched. One file each.

Called by optim; measure and testing take them as arguments.
Never imports objectives, solvers or optim: a metric reads an observation only.
"""

from ..core import Relative
from ..sampling import Empirical, Exact, MonteCarlo
from .averaged import Averaged
from .block_diagonal import BlockDiagonal
from .blockwise import Blockwise
from .diagonal_empirical_fisher import DiagonalEmpiricalFisher
from .diagonal_fisher import DiagonalFisher
from .empirical_fisher import EmpiricalFisher
from .euclidean import Euclidean
from .filter_wise import FilterWise
from .fisher import Fisher
from .gradient_magnitude import GradientMagnitude
from .kl_exact import KLDivergence, KLExact
from .kronecker_fisher import KroneckerFisher
from .layer_wise import LayerWise
from .monge import Monge
from .parameter_scaled import ParameterScaled
from .subset import normalisation, only

__all__ = [
    "Averaged",
    "BlockDiagonal",
    "Blockwise",
    "DiagonalEmpiricalFisher",
    "DiagonalFisher",
    "Empirical",
    "EmpiricalFisher",
    "Euclidean",
    "Exact",
    "FilterWise",
    "Fisher",
    "GradientMagnitude",
    "KLDivergence",
    "KLExact",
    "KroneckerFisher",
    "LayerWise",
    "Monge",
    "MonteCarlo",
    "ParameterScaled",
    "Relative",
    "normalisation",
    "only",
]
