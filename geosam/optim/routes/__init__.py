"""How a step makes its passes: by a closure, by a problem, or by a trainer's closure around a problem.

Called by ``optim.step``, which asks no source what it is. Never knows of a solver's result or an update.
"""

from .abstract import Route
from .choice import route

__all__ = ["Route", "route"]
