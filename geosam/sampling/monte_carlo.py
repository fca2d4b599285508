"""The expectation over labels by Monte Carlo."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Normal

from ..problem.information import irregular, refuse_meeting, refuse_moving_support
from ..problem.likelihoods import Likelihood, categorical
from .abstract import Sampling


@dataclass(frozen=True)
class MonteCarlo(Sampling):
    """K = n labels ŷ per sample from the predictive distribution: u_k = ∇_z(−log p(ŷ_k|z)), over the root of the number of
    distributions per sample. E over ŷ is the exact Fisher; the rank is at most n times the batch size.

    generator: a torch.Generator on any device; by default torch's own on the outputs' device. A training step advances it; an
    observation outside a step (``metric.at``) restores its state, so that repeated ones use the same labels. Categorical (of
    two classes for logits), Bernoulli and Normal labels use the generator itself; other distributions sample under a forked
    generator that it seeds. Raises: ValueError for n < 1, or a distribution whose batch_shape does not begin with the samples.
    """

    n: int = 1
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if isinstance(self.n, bool) or not isinstance(self.n, int) or self.n < 1:
            raise ValueError(f"MonteCarlo(n) draws n ≥ 1 labels for each sample, got {self.n!r}")

    @property
    def random(self) -> bool:
        """True."""
        return True

    def count(self, entries: int) -> int:
        """n."""
        return self.n

    def cotangents(self, likelihood: Likelihood, outputs: Tensor) -> Tensor:
        """The scores of n labels per sample."""
        samples, z = outputs.shape[0], outputs.detach().double()
        if likelihood is categorical:  # p − e_ŷ in closed form: every step of a classifier needs it
            p = z.softmax(1)
            labels = self._labels(Categorical(p.movedim(1, -1), validate_args=False), p.device).flatten(0, 1).unsqueeze(1)
            scores = p.repeat(self.n, *[1] * (z.dim() - 1)).scatter_add_(1, labels, -torch.ones_like(labels, dtype=p.dtype))
            return (scores / z[0, 0].numel() ** 0.5).reshape(self.n, *outputs.shape).to(outputs.dtype)
        distribution = likelihood(z)
        _check_samples(distribution, samples)
        places = distribution.batch_shape.numel() / samples
        labels = self._labels(distribution, z.device).flatten(0, 1)
        copies = z.repeat(self.n, *[1] * (z.dim() - 1)).requires_grad_()
        with torch.enable_grad():
            copied = likelihood(copies)
            _check_samples(copied, len(copies))
            refuse_moving_support(copied)
            score = -copied.log_prob(labels).reshape(len(copies), -1).sum(1)
            c = irregular(len(score), z)
            (scores,) = torch.autograd.grad(score.sum(), copies, retain_graph=True)
            (weighted,) = torch.autograd.grad(score @ c, copies)
        refuse_meeting(likelihood, scores.reshape(len(c), -1), weighted.reshape(len(c), -1), c)  # outputs may be [n]
        return (scores / places**0.5).reshape(self.n, *outputs.shape).to(outputs.dtype)

    def _labels(self, distribution: Distribution, device: torch.device) -> Tensor:
        shape = (self.n, *distribution.batch_shape)
        with torch.no_grad():
            if isinstance(distribution, Categorical):
                below = distribution.probs.cumsum(-1)
                noise = self._noise(torch.rand, shape, device).unsqueeze(-1)
                return (noise * below[..., -1:] >= below).sum(-1).clamp_max(below.shape[-1] - 1)
            if isinstance(distribution, Bernoulli):
                return (self._noise(torch.rand, shape, device) < distribution.probs).double()
            if isinstance(distribution, Normal):
                return distribution.mean + distribution.stddev * self._noise(torch.randn, shape, device)
            if self.generator is None:
                return distribution.sample((self.n,))
            seed = torch.randint(2**62, (), generator=self.generator, device=self.generator.device).item()
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                torch.manual_seed(int(seed))
                return distribution.sample((self.n,))

    def seed(self) -> int:
        """A seed from the generator, for samplers that are seeded."""
        device = None if self.generator is None else self.generator.device
        return int(torch.randint(2**62, (), generator=self.generator, device=device).item())

    def _noise(self, kind: object, shape: tuple[int, ...], device: torch.device) -> Tensor:
        where = device if self.generator is None else self.generator.device
        return kind(shape, generator=self.generator, device=where, dtype=torch.float64).to(device)  # type: ignore[operator]

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Restores the generator's state."""
        state = None if self.generator is None else self.generator.get_state()
        try:
            yield
        finally:
            if self.generator is not None and state is not None:
                self.generator.set_state(state)


def _check_samples(distribution: Distribution, samples: int) -> None:
    shape = distribution.batch_shape
    if not shape or shape[0] != samples:
        raise ValueError(
            f"the likelihood's batch_shape {tuple(shape)} does not begin with the {samples} samples; a label must belong "
            "to one sample. Wrap event dimensions in torch.distributions.Independent."
        )
