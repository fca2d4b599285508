"""Solvers: from a geometry at a point, a covector and a radius to ε*; :func:`solve` chooses one.

Called by optim, measure and testing.
Never imports norms, problem or optim: what a solver needs from a step comes in a :class:`geosam.core.Loan`.
"""

from .constrained import Constrained
from .crossing import Crossing, first_crossing
from .dual_norm import DualNorm
from .multi_step import MultiStep
from .radial import Radial
from .solving import solve

__all__ = ["Constrained", "Crossing", "DualNorm", "MultiStep", "Radial", "first_crossing", "solve"]
