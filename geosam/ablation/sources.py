"""What batches are taken from: a pair of tensors, or a torch data set of pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, default_collate

Batch = tuple[Any, Any]


def check_source(source: Any) -> None:
    """Raises: TypeError for what no batch can be taken from."""
    if isinstance(source, IterableDataset):
        raise TypeError(
            f"{type(source).__name__} has no order from which the seed could draw: take a data set with __len__ and "
            "__getitem__, or give seed -> geosam.ablation.Data"
        )
    if isinstance(source, tuple) and (len(source) != 2 or any(isinstance(t, str | list | tuple | dict) for t in source)):
        kinds = ", ".join(type(t).__name__ for t in source)
        raise TypeError(f"data are (x, y), two tensors, such as torch.tensor(y) of whole numbers for classes; got ({kinds})")


def taken(source: Any) -> tuple[Callable[[Tensor], Batch], int]:
    """Index tensor ↦ batch, and of how many samples."""
    if isinstance(source, tuple):
        x, y = (torch.as_tensor(t) if isinstance(t, np.ndarray) else t for t in source)
        if len(x) != len(y):
            raise ValueError(f"inputs and targets must be as many: got {len(x)} and {len(y)}")
        return (lambda chosen: (x[chosen], y[chosen])), len(y)

    def take(chosen: Tensor) -> Batch:
        batch = default_collate([source[i] for i in chosen.tolist()])
        if not isinstance(batch, list | tuple) or len(batch) != 2:
            held = f"dict of {', '.join(batch)}" if isinstance(batch, dict) else f"{type(batch).__name__} of {len(batch)}"
            raise TypeError(f"a sample is a pair (x, y), where x may be a dict; {type(source).__name__} gives a {held}")
        return batch[0], batch[1]

    return take, len(source)
