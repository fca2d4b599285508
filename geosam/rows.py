"""The per-sample Jacobian J as an operator, and the engines that capture it.

Row i of J is gᵢ = ∇ℓᵢ, the gradient of sample i's own loss, **not** divided by n, so the batch gradient is g = Jᵀ1/n and the
empirical Fisher is F = JᵀJ/n. What a metric reads are products with J; J itself need never exist.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

import torch
from torch import Tensor

from ._vectors import Vectors

if TYPE_CHECKING:
    from .problem import Bound

_BLOCK_BYTES = 64 * 2**20


class Rows(ABC):
    """n rows of gradients, one a sample: the operator J of shape [n, P]."""

    n: int
    like: Vectors

    @abstractmethod
    def gram(self) -> Tensor:
        """K = JJᵀ, shape [n, n], float64."""

    @abstractmethod
    def apply(self, v: Vectors) -> Tensor:
        """Jv, shape [n], float64."""

    @abstractmethod
    def materialise(self, a: Tensor) -> list[Tensor]:
        """Jᵀa for a of shape [n], as tensors with the parameters' shapes, in the type of a."""

    @abstractmethod
    def mean_squares(self) -> list[Tensor]:
        """(1/n) Σᵢ gᵢ² entry by entry, float64 with the parameters' shapes."""

    @abstractmethod
    def columns(self, index: Sequence[int]) -> Rows:
        """The columns of J that belong to the parameters at these positions."""

    def restrict(self, index: Sequence[int]) -> Rows:
        """The same columns as one and the same object, however often: vectors recognise their rows by identity."""
        parts: dict[tuple[int, ...], Rows] = vars(self).setdefault("_parts", {})
        return parts.setdefault(tuple(index), self.columns(index))

    def pull(self, a: Tensor) -> Pulled:
        """Jᵀa as a vector that remembers its coordinates a in the row space."""
        return Pulled(self, a)


class Pulled(Sequence[Tensor]):
    """Jᵀa: behaves as a list of tensors, computed at first use, and remembers (rows, a).

    A norm built from the same rows solves for a in n dimensions and never sees the P-dimensional vector. That is what keeps
    float32 accurate at small damping: g lies in the row space, where (F + λI)⁻¹ is large and any rounding of g is amplified.
    """

    def __init__(self, rows: Rows, coordinates: Tensor) -> None:
        self.rows, self.coordinates = rows, coordinates
        self._tensors: list[Tensor] | None = None

    def restrict(self, index: Sequence[int]) -> Pulled:
        """The part that belongs to some parameters, which remembers as well."""
        return self.rows.restrict(index).pull(self.coordinates)

    @property
    def tensors(self) -> list[Tensor]:
        """The vector itself."""
        if self._tensors is None:
            wide = self.rows.materialise(self.coordinates)
            self._tensors = [t.to(like.dtype) for t, like in zip(wide, self.rows.like, strict=True)]
        return self._tensors

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        return self.tensors[index]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.rows.like)

    def __repr__(self) -> str:
        return f"Pulled({self.tensors!r})"


class Materialised(Rows):
    """Rows held in memory: one tensor of shape [n, *shape] a parameter."""

    def __init__(self, jacobian: Sequence[Tensor]) -> None:
        self.jacobian = [j.reshape(j.shape[0], -1) for j in jacobian]
        self.like = [j[0] for j in jacobian]
        self.n = jacobian[0].shape[0]

    def gram(self) -> Tensor:
        """Accumulated in float64: the squared singular values of J span twice its digits."""
        total = torch.zeros(self.n, self.n, dtype=torch.float64, device=self.jacobian[0].device)
        for j in self.jacobian:
            for block in self._blocks(j):
                wide = block.double()
                total.addmm_(wide, wide.T)
        return total

    def apply(self, v: Vectors) -> Tensor:
        """Jv; J is widened block by block where v is wider."""
        total = torch.zeros(self.n, dtype=torch.float64, device=self.jacobian[0].device)
        for j, t in zip(self.jacobian, v, strict=True):
            blocks = self._blocks(j)
            for block, part in zip(blocks, t.reshape(-1).split(blocks[0].shape[1]), strict=True):
                total += block.to(part.dtype) @ part
        return total

    def materialise(self, a: Tensor) -> list[Tensor]:
        """Jᵀa; J is widened block by block where a is wider."""
        pairs = zip(self.jacobian, self.like, strict=True)
        return [torch.cat([a @ block.to(a.dtype) for block in self._blocks(j)]).reshape(t.shape) for j, t in pairs]

    def _blocks(self, j: Tensor) -> Sequence[Tensor]:
        return j.split(max(1, _BLOCK_BYTES // (8 * self.n)), dim=1)

    def mean_squares(self) -> list[Tensor]:
        """Squared in float64: gradients of 1e-25 are legal and their squares are zero in float32."""
        pairs = zip(self.jacobian, self.like, strict=True)
        return [torch.cat([b.double().square().mean(0) for b in self._blocks(j)]).reshape(t.shape) for j, t in pairs]

    def columns(self, index: Sequence[int]) -> Materialised:
        """The same memory, fewer parameters."""
        return Materialised([self.jacobian[i].reshape(self.n, *self.like[i].shape) for i in index])


class Engine(ABC):
    """How per-sample quantities are computed. Every engine gives the same numbers at a different cost."""

    @abstractmethod
    def rows(self, bound: Bound, parameters: Vectors) -> tuple[Tensor, Rows]:
        """(ℓ, J): the per-sample losses, shape [n], and the rows with respect to ``parameters``."""

    @abstractmethod
    def squares(self, bound: Bound, parameters: Vectors) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """(ℓ, g, (1/n) Σ gᵢ²): losses of shape [n], the batch gradient, and the mean of squares (float64)."""
