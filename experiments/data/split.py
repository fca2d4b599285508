"""The shape of a data set."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Split:
    """Inputs x and labels y to train on, and others to test on; the first axis counts samples."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor
