"""CIFAR-10 and -100, MNIST and Fashion-MNIST from torchvision's folders, or from an archive of arrays."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from .folder import folder, missing
from .split import Split

KEYS = ("train_x", "train_y", "test_x", "test_y")


@cache
def pictures(name: str, dataset: str) -> Split:
    """Pixels [n, channels, height, width], uint8, and labels; not to be written to.

    dataset: torchvision's class. ``<name>.npz`` in the same folder is taken first: arrays train_x [n, height, width] or
    [n, height, width, channels] uint8, train_y [n], test_x, test_y. Raises: FileNotFoundError that says how to get it.
    """
    archive = folder() / f"{name}.npz"
    if archive.exists():
        with np.load(archive) as arrays:
            return Split(*(_tensor(arrays[key]) for key in KEYS))
    from torchvision import datasets  # a second to import

    try:
        parts = [getattr(datasets, dataset)(str(folder()), train=train) for train in (True, False)]
    except RuntimeError as error:
        download = f'python -c "from torchvision.datasets import {dataset} as d; d({str(folder())!r}, download=True)"'
        raise missing(dataset, download, f"{name}.npz with arrays {', '.join(KEYS)}") from error
    arrays = [array for part in parts for array in (part.data, part.targets)]
    return Split(*(_tensor(np.asarray(array)) for array in arrays))


def _tensor(array: np.ndarray) -> Tensor:
    """Labels as int64; images with the channels first."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if tensor.dim() == 1:
        return tensor.long()
    return tensor.unsqueeze(1) if tensor.dim() == 3 else tensor.permute(0, 3, 1, 2).contiguous()
