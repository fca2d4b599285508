"""What the laws are tried on, drawn through Hypothesis alone, so that every failure shrinks and repeats."""

from .covectors import covectors, draws
from .matrices import diagonals, jacobians, rows
from .models import batches, observations, problems
from .vectors import shapes, spaces, vectors

__all__ = [
    "batches",
    "covectors",
    "diagonals",
    "draws",
    "jacobians",
    "observations",
    "problems",
    "rows",
    "shapes",
    "spaces",
    "vectors",
]
