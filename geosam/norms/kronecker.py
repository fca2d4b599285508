"""Blocks that are Kronecker products, damped exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import Damping, InnerProduct, Vectors, resolve, singular
from ..core import vectors as vec


@dataclass(frozen=True, eq=False)
class Factor:
    """B ⊗ A for the matrix [W b] of a layer, rows flattened one after the other.

    weight, bias: positions of the parameters, or None; W is flattened to [o, d]. outer: B, [o, o]. inner: A, [d + 1, d + 1],
    its last row and column the bias's; without a bias [d, d], without a weight [1, 1].
    """

    weight: int | None
    bias: int | None
    outer: Tensor
    inner: Tensor

    @property
    def index(self) -> list[int]:
        """Positions of the block's parameters."""
        return [i for i in (self.weight, self.bias) if i is not None]

    def matrix(self, v: Vectors) -> Tensor:
        """[W b] of a vector, float64."""
        o = self.outer.shape[0]
        return torch.cat([v[i].double().reshape(o, -1) for i in self.index], 1)

    def spread(self, matrix: Tensor, like: Vectors) -> Iterator[tuple[int, Tensor]]:
        """(position, tensor): the inverse of ``matrix``."""
        widths = [like[i].numel() // matrix.shape[0] for i in self.index]
        for i, part in zip(self.index, matrix.split(widths, 1), strict=True):
            yield i, part.reshape(like[i].shape).to(like[i].dtype)

    def restrict(self, place: dict[int, int]) -> Factor | None:
        """The block of the parameters in ``place``, old position → new, with a principal submatrix of A; None without any."""
        weight, bias = (None if i is None else place.get(i) for i in (self.weight, self.bias))
        if weight is None and bias is None:
            return None
        width = self.inner.shape[0] - (self.bias is not None)
        columns = slice(0 if weight is not None else width, width if bias is None else width + 1)
        return Factor(weight, bias, self.outer, self.inner[columns, columns])


@dataclass(frozen=True, eq=False)
class Factors:
    """A Fisher matrix as blocks, one per layer. bare: position of a parameter that no block covers → the reason."""

    blocks: Sequence[Factor]
    bare: dict[int, str]

    def restrict(self, index: Sequence[int]) -> Factors:
        """The blocks of some of the parameters."""
        place = {i: k for k, i in enumerate(index)}
        found = [block.restrict(place) for block in self.blocks]
        bare = {place[i]: why for i, why in self.bare.items() if i in place}
        return Factors([block for block in found if block is not None], bare)


class Kronecker(InnerProduct):
    """G = blockdiag(B_l ⊗ A_l) + λI, exactly: (B ⊗ A + λI)⁻¹ = (Q_B ⊗ Q_A) diag(1/(β_i α_j + λ)) (Q_B ⊗ Q_A)ᵀ, float64.

    A, B symmetric and positive semi-definite, with eigenbases Q and eigenvalues α, β ≥ 0. Not the heuristic that damps each
    factor by its share of √λ (π-damping) and inverts another matrix. ``Relative`` damping is relative to the mean diagonal
    of all blocks. Raises: ValueError for λ = 0 where a product βα is zero to rounding.
    """

    like: Vectors

    def __init__(self, blocks: Sequence[Factor], like: Vectors, damping: Damping) -> None:
        self.blocks, self.like, self.rule = list(blocks), like, damping
        self._bases = [(_eigen(block.outer), _eigen(block.inner)) for block in self.blocks]
        self.damping = resolve(damping, self._mean_diagonal)
        self._spectra = [torch.outer(b[0], a[0]) for b, a in self._bases]
        if isinstance(self.damping, float) and self.damping == 0:
            for spectrum in self._spectra:
                if spectrum.amin() <= torch.finfo(like[0].dtype).eps * spectrum.amax():
                    raise singular("a Kronecker product")

    def __repr__(self) -> str:
        return f"Kronecker({len(self.blocks)} blocks, damping={float(self.damping):.3g})"

    def _mean_diagonal(self) -> Tensor:
        traces = [b[0].sum() * a[0].sum() for b, a in self._bases]
        return torch.stack(traces).sum() / vec.count(self.like)

    def _rotated(self, v: Vectors) -> list[Tensor]:
        pairs = zip(self.blocks, self._bases, strict=True)
        return [b[1].mT @ block.matrix(v) @ a[1] for block, (b, a) in pairs]

    def _back(self, rotated: Sequence[Tensor], like: Vectors) -> list[Tensor]:
        found: dict[int, Tensor] = {}
        for block, (b, a), r in zip(self.blocks, self._bases, rotated, strict=True):
            found.update(block.spread(b[1] @ r @ a[1].mT, like))
        return [found[i] for i in range(len(like))]

    def _eigenvalues(self) -> list[Tensor]:
        return [spectrum + self.damping for spectrum in self._spectra]

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(♯c, ‖c‖*), each entry divided in the eigenbasis."""
        rotated = self._rotated(c)
        solved = [r / e for r, e in zip(rotated, self._eigenvalues(), strict=True)]
        return self._back(solved, c), vec.dot(rotated, solved).sqrt()

    def sharp(self, c: Vectors) -> Vectors:
        """♯c."""
        return self.ascend(c)[0]

    def flat(self, v: Vectors) -> Vectors:
        """♭v."""
        return self._back([r * e for r, e in zip(self._rotated(v), self._eigenvalues(), strict=True)], v)

    def norm(self, v: Vectors) -> Tensor:
        """‖v‖."""
        rotated = self._rotated(v)
        return vec.dot(rotated, [r * e for r, e in zip(rotated, self._eigenvalues(), strict=True)]).sqrt()

    def logdet(self) -> Tensor:
        """Σ log(βα + λ)."""
        return torch.stack([e.log().sum() for e in self._eigenvalues()]).sum()


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues ≥ 0 and eigenvectors, float64. A matrix that is not finite has NaN for eigenvalues, which propagates."""
    wide = matrix.double()
    finite = torch.isfinite(wide).all()
    values, vectors = torch.linalg.eigh(torch.where(finite, (wide + wide.mT) / 2, 0.0))
    return torch.where(finite, values.clamp_min(0), torch.nan), vectors
