"""Memory limits in bytes, and tolerances, each defined once."""

from __future__ import annotations

import os

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


def out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory is used up: torch has a class of its own for accelerators only."""
    words = ("can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in words)


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device, None where the system does not report it."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None


def fits(square: torch.Tensor) -> bool:
    """Whether the largest of some mean squares lies where float32 has lost nothing that matters. False for NaN."""
    return bool(1e-30 < square < 1e37)


def rounding(dtype: torch.dtype) -> float:
    """√eps, relative: allows any order of summation, and is far below the error of a wrong factor."""
    return float(torch.finfo(dtype).eps ** 0.5)


def agreement(*dtypes: torch.dtype) -> float:
    """10 √eps of the coarsest type, relative: for one quantity that is computed by two different kernels."""
    return 10 * max(map(rounding, dtypes))
