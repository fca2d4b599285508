"""Byte budgets and tolerances, each in one place."""

from __future__ import annotations

import torch

ROWS = 512 * 2**20
"""Rows of drawn labels beyond this are replaced by matrix products."""

CHUNK = 256 * 2**20
"""What a pass over chunks of samples holds at once, and rows that a layer keeps."""

BLOCK = 64 * 2**20
"""Blocks of columns that are formed and dropped again."""

CACHE = 2**20
"""A block that is widened, so that it stays in a CPU's cache; and the entries of a product that is kept."""


def rounding(dtype: torch.dtype) -> float:
    """√eps: loose enough for any order of summation, far below a wrong factor. Relative."""
    return float(torch.finfo(dtype).eps ** 0.5)


def agreement(*dtypes: torch.dtype) -> float:
    """10 √eps of the coarsest type: two computations of one quantity by different kernels. Relative."""
    return 10 * max(map(rounding, dtypes))
