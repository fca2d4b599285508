"""What a way to sample labels is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core import Public
from ..problem.likelihoods import Likelihood


class Sampling(Public, ABC):
    """The true Fisher as a mean over rows: F = (1/(K n)) Σ_k Σᵢ (Jᵢᵀu_kᵢ)(Jᵢᵀu_kᵢ)ᵀ, Jᵢ = ∂zᵢ/∂θ the outputs' Jacobian.

    F is the second derivative of :func:`geosam.likelihoods.mean_kl` at 0: over the distribution's ``batch_shape`` beyond the
    samples (pixels, tokens, entries) it is a mean as well.
    """

    example: ClassVar[str] = "geosam.metrics.Exact()"

    @property
    def random(self) -> bool:
        """Whether cotangents differ from call to call."""
        return False

    @abstractmethod
    def count(self, entries: int) -> int:
        """K, the cotangents per sample, for outputs with ``entries`` entries per sample."""

    @abstractmethod
    def cotangents(self, likelihood: Likelihood, outputs: Tensor) -> Tensor:
        """u, shape [K, n, ...] for outputs [n, ...], in the outputs' type; computed in float64."""

    def coordinates(
        self, likelihood: Likelihood, outputs: Tensor, cotangents: Tensor, slopes: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """(α [K, n], spanned [n]) with Σ_k α_kᵢ u_kᵢ = slopesᵢ where ``spanned``, so that Jᵢᵀ slopesᵢ lies in the row space.

        slopes: ∂ℓᵢ/∂zᵢ of some loss, [n, ...], float64. Default: spanned where one of sample i's cotangents is a multiple of
        its slope, entry by entry, as the score of the data's own label is. None: for no sample.
        """
        # entry by entry: the scores of two labels that share all of the probability are nearly opposite, and their small
        # difference lies off the span, where it is amplified by σ²/λ
        u, s = (t.double().unsqueeze(-1).flatten(k) for k, t in ((2, cotangents), (1, slopes)))  # outputs may be [n]
        kind = torch.finfo(cotangents.dtype)
        alpha = (u * s).sum(2) / u.square().sum(2)
        gap = (s - alpha.unsqueeze(2) * u).abs()
        parallel = (gap <= 8 * kind.eps * s.abs() + kind.tiny * alpha.abs().unsqueeze(2)).all(2)
        return torch.where(parallel, alpha / parallel.sum(0), 0.0), parallel.any(0)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """A context that restores the state of its own generator, if it has one."""
        yield


@dataclass(frozen=True)
class Empirical(Public):
    """The data's own labels, under the training loss: a Fisher matrix in name only (Kunstner et al. 2019)."""
