"""Memory limits in bytes, and tolerances, each defined once."""

from __future__ import annotations

import torch

ROWS = 512 * 2**20
"""Above this, the rows of label draws are replaced by matrix-vector products."""

CHUNK = 256 * 2**20
"""For one chunk of samples, and for all rows that a pass keeps."""

BLOCK = 64 * 2**20
"""For a block of columns that is formed and then discarded."""

CACHE = 2**20
"""For a block that is converted to a wider type in a CPU's cache."""

GRAM = 2**20
"""In entries: a Gram matrix of inputs that is kept."""


def fits(square: torch.Tensor) -> bool:
    """Whether the largest of some mean squares lies where float32 has lost nothing that matters. False for NaN."""
    return bool(1e-30 < square < 1e37)


def rounding(dtype: torch.dtype) -> float:
    """√eps, relative: allows any order of summation, and is far below the error of a wrong factor."""
    return float(torch.finfo(dtype).eps ** 0.5)


def agreement(*dtypes: torch.dtype) -> float:
    """10 √eps of the coarsest type, relative: for one quantity that is computed by two different kernels."""
    return 10 * max(map(rounding, dtypes))
