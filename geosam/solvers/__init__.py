"""Solvers: from a geometry at a point, a covector and a radius to ε*; :func:`solve` chooses one.

Called by optim, measure and testing.
Never imports norms, problem or optim: what a solver needs from a step comes in a :class:`geosam.core.Loan`.
"""

from .constrained import Constrained
from .crossing import Crossing, first_crossing
from .dual_norm import Closed, DualNorm
from .exact_rise import ExactRise
from .linear_rise import LinearRise
from .multi_step import MultiStep
from .radial import Radial
from .solving import solve
from .unified import Unified

__all__ = [
    "Closed",
    "Constrained",
    "Crossing",
    "DualNorm",
    "ExactRise",
    "LinearRise",
    "MultiStep",
    "Radial",
    "Unified",
    "first_crossing",
    "solve",
]
