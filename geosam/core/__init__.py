"""Vectors, damping, and what a norm, a divergence and a solver are.

Every other room builds on this one. Nothing here knows of models, losses or batches.
"""

from .checks import check_instance, check_radius
from .damping import Damping, Relative, check_damping, resolve, singular
from .divergence import Divergence, Landing
from .geometry import InnerProduct, Norm, Normal
from .solver import Covector, Loan, Perturbation, Solver
from .vectors import Scalar, Vectors

__all__ = [
    "Covector",
    "Damping",
    "Divergence",
    "InnerProduct",
    "Landing",
    "Loan",
    "Norm",
    "Normal",
    "Perturbation",
    "Relative",
    "Scalar",
    "Solver",
    "Vectors",
    "check_damping",
    "check_instance",
    "check_radius",
    "resolve",
    "singular",
]
