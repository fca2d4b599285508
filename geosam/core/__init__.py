"""Vectors, damping, limits, and what a norm, a divergence and a solver are.

Called by every other room.
Never imports another room: models, losses and batches are unknown here.
"""

from .brief import Brief, brief
from .checks import check_callable, check_decay, check_instance, check_number, check_radius
from .damping import Damping, Relative, check_damping, resolve, singular
from .divergence import Divergence, Landing
from .extra import extra
from .geometry import InnerProduct, Norm, Normal
from .public import Public
from .solver import Covector, Loan, Perturbation, Solver
from .vectors import Scalar, Vectors

__all__ = [
    "Brief",
    "Covector",
    "Damping",
    "Divergence",
    "InnerProduct",
    "Landing",
    "Loan",
    "Norm",
    "Normal",
    "Perturbation",
    "Public",
    "Relative",
    "Scalar",
    "Solver",
    "Vectors",
    "brief",
    "check_callable",
    "check_damping",
    "check_decay",
    "check_instance",
    "check_number",
    "check_radius",
    "extra",
    "resolve",
    "singular",
]
