"""For every column the smallest case at which each cell that is not "yes" shows: what Hypothesis shrinks to.

One case does for all rows of a column. Inputs, targets, φ and the map's numbers are integers of at most 3.
"""

import numpy as np

from theory.invariance.transformations import Case


def _case(column: str, inputs: list[list[int]], targets: list[int], phi: list[int], numbers: tuple[int, ...] = ()) -> Case:
    shape = (len(targets), len(inputs[0]) if inputs else 0)
    return Case(column, np.array(inputs, float).reshape(shape), *(np.array(x, float) for x in (targets, phi, numbers)))


_CASES = (
    _case("rotation", [[0], [1]], [0, 0], [0, 1], (2,)),
    _case("diagonal", [[0], [1]], [0, 0], [0, 1], (1, 2)),
    _case("node-wise", [[0], [1], [-2]], [0, 0, 0], [1, 1, 1, 1], (2,)),
    _case("BatchNorm", [[0, 0], [1, 0], [0, 1]], [0, 0, 1], [1, 0, 1, 0], (2,)),
    _case("smooth", [[0], [1]], [0, 0], [0, 1], (0, 1, 0, 0)),
    _case("log σ", [], [0, 1], [0, 2]),
    _case("natural", [], [0, 0], [1, -1]),
    _case("mean", [], [0, -1], [1, 2]),
)
COUNTEREXAMPLES = {case.column: case for case in _CASES}
