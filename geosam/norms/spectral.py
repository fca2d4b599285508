"""The largest singular value over all weight matrices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import Norm, Vectors
from ..core import vectors as vec
from ..core.sharded import check_whole


def _matrix(t: Tensor) -> Tensor:
    """A parameter as a matrix: [outputs, the rest]; a vector is one column, and so is what has no entries."""
    return t.reshape(t.shape[0], -1) if t.dim() > 1 and t.numel() else t.reshape(-1, 1)


def _largest(matrix: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(matrix, 2) if matrix.numel() else matrix.sum()


@dataclass(frozen=True, eq=False)
class Spectral(Norm):
    """‖v‖ = max over tensors of σ_max, ‖c‖* = Σ of nuclear norms, ♯c = ‖c‖* UVᵀ with c = U diag(σ) Vᵀ, tensor by tensor.

    A convolution is flattened to [out channels, the rest]; a vector counts as a matrix of one column. Singular values are
    computed in float64; those below eps (1e-7 in float32) times a tensor's largest are rounding errors, and ♯c is 0 there.
    Raises: NotImplementedError for a tensor that is divided among processes (FSDP2, tensor parallel).
    """

    like: Vectors | None = None

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(♯c, ‖c‖*). Entries that are not finite make ‖c‖* NaN; they are never decomposed."""
        check_whole(c, "Spectral")
        finite = vec.finite(c)
        polar, dual = [], torch.zeros((), dtype=torch.float64, device=c[0].device)
        for t in vec.keep(finite, c):
            u, s, vh = torch.linalg.svd(_matrix(t).double(), full_matrices=False)
            kept = s > torch.finfo(t.dtype).eps * s[:1]
            polar.append((u * kept @ vh).reshape(t.shape).to(t.dtype))
            dual = dual + s.sum().to(dual.device)
        dual = torch.where(finite, dual, torch.nan)
        return vec.scale(polar, dual), dual

    def norm(self, v: Vectors) -> Tensor:
        """‖v‖."""
        check_whole(v, "Spectral")
        return vec.gathered([_largest(_matrix(t).double()) for t in v]).amax()
