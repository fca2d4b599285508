"""The expectation over labels in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..problem.information import information, irregular, refuse_meeting
from ..problem.likelihoods import Likelihood, bernoulli, categorical, gaussian
from .abstract import Sampling

# For outputs [n, ...] with E entries per sample: (B, S) with BBᵀ their Fisher information and S a right inverse of B on its
# range, BS = I there, both float64 [n, E, E].
_Root = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Exact(Sampling):
    """K = E, the number of entries of a sample's outputs: u_k = √E B_k with BBᵀ the Fisher information in the outputs.

    Closed forms: softmax √p_k(p − e_k), the score of label k times the root of its probability; logits √(p(1−p)); N(f, ½) √2,
    each over the root of the distributions per sample. Other likelihoods: the eigendecomposition of each sample's KL Hessian.
    """

    def count(self, entries: int) -> int:
        """E."""
        return entries

    def cotangents(self, likelihood: Likelihood, outputs: Tensor) -> Tensor:
        """√E B, column by column."""
        root, _ = _root(likelihood, outputs)
        entries = root.shape[1]
        u = root.permute(2, 0, 1).reshape(entries, *outputs.shape) * entries**0.5
        return u.to(outputs.dtype)

    def coordinates(
        self, likelihood: Likelihood, outputs: Tensor, cotangents: Tensor, slopes: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """S slopes/√E for all samples; None where 1e-4 of the slopes is outside B's range. On an accelerator one host read.

        A loss that is −log p of some label, smoothed or weighted, has its slope in the range, because p is positive there.
        """
        root, inverse = _root(likelihood, outputs)
        entries, flat = root.shape[1], slopes.double().reshape(len(slopes), -1, 1)
        alpha = inverse @ flat
        gap = root.to(outputs.dtype).double() @ alpha - flat
        allowed = max(1e-4, 4 * torch.finfo(outputs.dtype).eps)  # cotangents are rounded to the outputs' type
        if not torch.linalg.vector_norm(gap) <= allowed * torch.linalg.vector_norm(flat):
            return None
        return alpha.squeeze(2).T / entries**0.5, torch.ones(len(slopes), dtype=torch.bool, device=flat.device)


def _root(likelihood: Likelihood, outputs: Tensor) -> _Root:
    wide = outputs.detach().double()
    closed = next((root for known, root in _CLOSED.items() if known is likelihood), None)
    return _by_hessian(likelihood, wide) if closed is None else closed(wide)


def _softmax(z: Tensor) -> _Root:
    """B = (p 1ᵀ − I) diag(√p), S = −diag(1/√p): BSd = d − p Σd, and a slope of log-likelihoods sums to 0."""
    n, classes = z.shape[:2]
    p = z.softmax(1).reshape(n, classes, -1)
    places, root = p.shape[2], p.sqrt()
    eye = torch.eye(classes, dtype=p.dtype, device=p.device).unsqueeze(2)
    columns = (p.unsqueeze(2) - eye) * root.unsqueeze(1) / places**0.5  # [n, entry, label, place]
    inverse = torch.where(root > 0, -(places**0.5) / root, 0.0)
    return _over_places(columns), torch.diag_embed(inverse.reshape(n, -1))


def _over_places(blocks: Tensor) -> Tensor:
    """[n, a, b, R] → [n, aR, bR], one block per place (pixel, token)."""
    n, a, b, places = blocks.shape
    return torch.diag_embed(blocks).transpose(2, 3).reshape(n, a * places, b * places)


def _diagonal(information: Tensor) -> _Root:
    root = (information.reshape(len(information), -1) / information[0].numel()).sqrt()
    return torch.diag_embed(root), torch.diag_embed(torch.where(root > 0, 1 / root, 0.0))


def _by_hessian(likelihood: Likelihood, z: Tensor) -> _Root:
    """B = VΛ^½ from the Fisher information in z."""
    n, entries = len(z), z[0].numel()
    product, eye = information(likelihood, z), torch.eye(entries, dtype=z.dtype, device=z.device)
    # where sample i's KL depends on its own outputs only, one product serves all samples
    rows = [n * product(e.expand(n, entries).reshape(z.shape)).reshape(n, entries) for e in eye]
    blocks, c = torch.stack(rows, 1).detach(), irregular(n, z)
    v = irregular(z.numel(), z).view(n, entries)
    weighted = n * product((v * c.unsqueeze(1)).reshape(z.shape)).reshape(n, entries)
    refuse_meeting(likelihood, torch.einsum("nef,ne->nf", blocks, v), weighted, c)
    finite = torch.isfinite(blocks).all()
    values, vectors = torch.linalg.eigh(torch.where(finite, (blocks + blocks.mT) / 2, 0.0))
    kept = values > entries * torch.finfo(values.dtype).eps * values[:, -1:]
    root = torch.where(kept, values, 0.0).sqrt()
    inverse = torch.where(kept, 1 / root, 0.0).unsqueeze(2) * vectors.mT
    return torch.where(finite, vectors * root.unsqueeze(1), torch.nan), inverse


_CLOSED: dict[Likelihood, Callable[[Tensor], _Root]] = {
    categorical: _softmax,
    bernoulli: lambda z: _diagonal(z.sigmoid() * (-z).sigmoid()),
    gaussian: lambda z: _diagonal(torch.full_like(z, 2.0)),
}
