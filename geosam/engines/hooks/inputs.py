"""The inputs of a linear layer, shared by the rows of all of its output gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core import limits


class Inputs:
    """a, [n, T, d], and the Gram matrix aaᵀ of its positions."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self.width = tensor, tensor.shape[2]
        self._version = None if tensor.is_inference() else tensor._version
        self._products: dict[torch.dtype, Tensor] = {}

    @property
    def tensor(self) -> Tensor:
        """a. Raises: RuntimeError where it was overwritten since the pass: it may be the batch itself, or a view of it."""
        if self._version is not None and self._tensor._version != self._version:
            raise RuntimeError("the inputs of a linear layer were overwritten since the forward pass: observe again")
        return self._tensor

    @property
    def kept(self) -> bool:
        """Whether aaᵀ is small enough to be kept for later calls."""
        return (self._tensor.shape[0] * self._tensor.shape[1]) ** 2 <= limits.GRAM

    def gram(self, strip: slice, precision: torch.dtype) -> Tensor:
        """aaᵀ: the positions of the samples ``strip`` by those of all samples up to its end."""
        positions = self.tensor.shape[1]
        rows, columns = slice(strip.start * positions, strip.stop * positions), strip.stop * positions
        if not self.kept:
            a = self.tensor[: strip.stop].to(precision).flatten(0, 1)
            return a[rows] @ a.T
        if precision not in self._products:
            a = self.tensor.to(precision).flatten(0, 1)
            self._products[precision] = a @ a.T
        return self._products[precision][rows, :columns]
