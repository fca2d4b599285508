"""Solvers: from a geometry at a point, a covector and a radius to ε*.

Optimizer and measures call :func:`solve`. A solver knows norms and divergences, never a model; what it needs of a step it
is lent (:class:`geosam.core.Loan`).
"""

from .constrained import Constrained
from .crossing import Crossing, first_crossing
from .dual_norm import DualNorm
from .multi_step import MultiStep
from .radial import Radial
from .solving import solve

__all__ = ["Constrained", "Crossing", "DualNorm", "MultiStep", "Radial", "first_crossing", "solve"]
