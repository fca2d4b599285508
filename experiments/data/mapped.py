"""Images of a data set that is larger than memory, from arrays on disk that are read where they are needed."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from .folder import folder, missing
from .pictures import KEYS
from .split import Split


@cache
def mapped(name: str) -> Split:
    """Pixels [n, channels, height, width], uint8, memory-mapped, and labels.

    In the data folder: ``<name>/train_x.npy``, ``train_y.npy``, ``test_x.npy`` and ``test_y.npy``. Raises: FileNotFoundError
    that says so.
    """
    home = folder() / name
    if not all((home / f"{key}.npy").exists() for key in KEYS):
        wanted = ", ".join(f"{name}/{key}.npy" for key in KEYS)
        raise missing(
            name,
            "write its images, resized and cropped to 224 × 224, with numpy.save",
            f"{wanted} ([n, 3, 224, 224] uint8, [n])",
        )
    return Split(*(_tensor(np.load(home / f"{key}.npy", mmap_mode="c")) for key in KEYS))


def _tensor(array: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.long() if tensor.dim() == 1 else tensor
