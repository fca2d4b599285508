"""The model's predictive distribution at θ and around it: KL, and products with the true Fisher information."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import _vectors as vec
from ._vectors import Vectors
from .likelihoods import Likelihood, mean_kl

_CHUNK_BYTES = 256 * 2**20

Forward = Callable[[Sequence[Tensor]], Tensor]


@contextmanager
def _forward_mode() -> Iterator[None]:
    """Kernels that have a forward-mode derivative: fused attention and fused recurrences have none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's remarks on its own tracing, imports and flags
        with (
            sdpa_kernel(SDPBackend.MATH),
            torch.backends.mkldnn.flags(enabled=False),
            torch.backends.cudnn.flags(enabled=False),
        ):
            yield


@dataclass(frozen=True)
class Predictive:
    """p_θ(·|x) on one batch.

    forward: parameters → outputs, a pure function (one dropout mask, buffers left alone). outputs: those at θ. random: whether
    the forward pass draws random numbers. alone: (parameters, input) → outputs of one sample, and the inputs, batch first; None
    where samples meet (BatchNorm).
    The distribution is formed in float64: at small radii KL is a difference of nearly equal logarithms.
    """

    forward: Forward
    likelihood: Likelihood
    parameters: Vectors
    outputs: Tensor
    random: bool = False
    alone: tuple[Callable[[Sequence[Tensor], Any], Tensor], Any] | None = None

    def outputs_at(self, epsilon: Vectors) -> Tensor:
        """Outputs at θ + ε, without a graph."""
        with torch.no_grad():
            return self.forward(vec.add(self.parameters, epsilon)).detach()

    def kl(self, epsilon: Vectors) -> Tensor:
        """D(ε) = E_x KL(p_{θ+ε} ‖ p_θ) = ½ εᵀFε + O(‖ε‖³), over the batch, float64."""
        with torch.no_grad():
            return mean_kl(self.likelihood(self.outputs_at(epsilon).double()), self.likelihood(self.outputs.double()))

    def fisher(self, v: Vectors) -> list[Tensor]:
        """Fv = Jᵀ H J v, H the Fisher information with respect to the outputs; two model products a call."""
        push, pull = self._products
        with torch.no_grad():
            tangent = push(*[t.to(p.dtype) for t, p in zip(v, self.parameters, strict=True)])
        return list(pull(self._output_fisher(tangent).to(self.outputs.dtype)))

    @cached_property
    def _products(self) -> tuple[Callable[..., Tensor], Callable[[Tensor], tuple[Tensor, ...]]]:
        def forward(*parameters: Tensor) -> Tensor:
            return self.forward(parameters)

        def differentiate(*tangents: Tensor) -> Tensor:
            with _forward_mode():
                return torch.func.jvp(forward, theta, tangents)[1]

        theta = tuple(p.detach() for p in self.parameters)
        _, pull = torch.func.vjp(forward, *theta)  # type: ignore[misc]
        if self.random:  # the graph that linearize records would draw a new dropout mask at every call
            return differentiate, pull
        with _forward_mode():
            return torch.func.linearize(forward, *theta)[1], pull

    @cached_property
    def _output_gradient(self) -> tuple[Tensor, Tensor]:
        z = self.outputs.double().detach()
        moved = z.clone().requires_grad_()
        with torch.enable_grad():
            kl = mean_kl(self.likelihood(moved), self.likelihood(z))
            (gradient,) = torch.autograd.grad(kl, moved, create_graph=True)
        return moved, gradient

    def _output_fisher(self, u: Tensor) -> Tensor:
        # ∇² KL(p_{z+δ} ‖ p_z) at δ = 0 is the Fisher information in z, for every likelihood that torch can differentiate
        moved, gradient = self._output_gradient
        return torch.autograd.grad(gradient, moved, u.double(), retain_graph=True)[0]

    def mean_diagonal(self) -> Tensor:
        """tr(F)/P, exact: Σ ‖Jᵢᵀ Bₖ‖² over the samples' outputs, BᵀB = H. Sample by sample (vectorised) unless samples meet."""
        n, entries = self.outputs.shape[0], self.outputs[0].numel()
        eye = torch.eye(entries, dtype=torch.float64, device=self.outputs.device)
        columns = [self._output_fisher(e.expand(n, -1).reshape(self.outputs.shape)).reshape(n, -1) for e in eye]
        blocks = torch.stack(columns, -1)
        if not torch.isfinite(blocks).all():  # such a matrix has no eigenvectors; NaN flows on to the dual norm
            return torch.full((), torch.nan, dtype=torch.float64, device=blocks.device)
        values, vectors = torch.linalg.eigh(blocks)
        roots = (vectors * values.clamp_min(0).sqrt().unsqueeze(-2)).transpose(-1, -2)
        roots = roots.reshape(n, entries, *self.outputs.shape[1:]).to(self.outputs.dtype)
        try:
            squares = self._squares_together(roots) if self.alone is None else self._squares_alone(roots)
        except RuntimeError:  # an operation without a batching rule
            squares = self._squares_together(roots)
        return squares / vec.count(self.parameters)

    def _squares_alone(self, roots: Tensor) -> Tensor:
        alone, inputs = self.alone  # type: ignore[misc]
        theta = tuple(p.detach() for p in self.parameters)

        def squares(x: Any, root: Tensor) -> Tensor:
            _, pull = torch.func.vjp(lambda *p: alone(p, x), *theta)  # type: ignore[misc]
            return sum(t.double().square().sum() for t in torch.func.vmap(pull)(root))  # type: ignore[return-value]

        width = max(1, _CHUNK_BYTES // (8 * roots.shape[1] * vec.count(theta)))
        return torch.func.vmap(squares, chunk_size=width)(inputs, roots).sum()

    def _squares_together(self, roots: Tensor) -> Tensor:
        _, pull = self._products
        total = torch.zeros((), dtype=torch.float64, device=roots.device)
        for i, root in enumerate(roots):
            u = torch.zeros(root.shape[0], *self.outputs.shape, dtype=root.dtype, device=root.device)
            u[:, i] = root
            pulled = torch.func.vmap(pull)(u)
            total += vec.dot(pulled, pulled)
        return total

    def restrict(self, index: Sequence[int]) -> Predictive:
        """The same model as a function of some of its parameters."""
        full = list(self.parameters)

        def embed(parameters: Sequence[Tensor]) -> list[Tensor]:
            moved = list(full)
            for i, p in zip(index, parameters, strict=True):
                moved[i] = p
            return moved

        def forward(parameters: Sequence[Tensor]) -> Tensor:
            return self.forward(embed(parameters))

        alone = self.alone
        if alone is not None:
            one, inputs = alone
            alone = (lambda parameters, x: one(embed(parameters), x)), inputs
        return Predictive(forward, self.likelihood, [full[i] for i in index], self.outputs, self.random, alone)
