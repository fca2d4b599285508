"""The inputs of the laws, drawn by Hypothesis alone, so that every failure shrinks and repeats.

Called by ``check_norm`` and its like, and by the tests of this library.
Never imports norms, metrics or laws.
"""

from .covectors import covectors, draws, pulled
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
    "pulled",
    "rows",
    "shapes",
    "spaces",
    "vectors",
]
