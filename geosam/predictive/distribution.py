"""The model's predictive distribution at θ and around it: KL, and products with the true Fisher information."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..core import Landing, Vectors, limits
from ..core import vectors as vec
from ..core.limits import agreement
from ..core.undo import Attempt, undisturbed
from ..problem.functional import without_reentrant
from ..problem.gradient import filled, gradients
from ..problem.information import information
from ..problem.likelihoods import Likelihood, mean_kl
from ..sampling import Exact
from .jacobian import Jacobian
from .recording import Recorder

Forward = Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Predictive:
    """p_θ(·|x) on one batch.

    forward: parameters → outputs, a pure function (one dropout mask, buffers unchanged). outputs: those at θ. alone:
    (parameters, input) → outputs of one sample, and the inputs, batch first; None where samples are coupled (BatchNorm) or
    random numbers are used. recorder: records products with J once for all points; by default none are recorded.
    The distribution is formed in float64: at small radii KL is a difference of nearly equal logarithms.
    """

    forward: Forward
    likelihood: Likelihood
    parameters: Vectors
    outputs: Tensor
    alone: tuple[Callable[[Sequence[Tensor], Any], Tensor], Any] | None = None
    recorder: Recorder | None = None

    @undisturbed
    def outputs_at(self, epsilon: Vectors) -> Tensor:
        """Outputs at θ + ε, without a graph."""
        with torch.no_grad():
            return self.forward(vec.add(self.parameters, epsilon)).detach()

    @undisturbed
    def kl(self, epsilon: Vectors) -> Tensor:
        """D(ε) = E_x KL(p_{θ+ε} ‖ p_θ) = ½ εᵀFε + O(‖ε‖³), over the batch, float64."""
        with torch.no_grad():
            return mean_kl(self.likelihood(self.outputs_at(epsilon).double()), self._here)

    @undisturbed
    def visit(self, direction: Vectors, scale: Tensor, keep: bool) -> tuple[Tensor, Landing | None]:
        """(D(scale · direction), the forward pass with its graph if ``keep``). θ + ε is rounded as ``Move`` rounds it."""
        with torch.set_grad_enabled(keep):
            moved = [t.detach().requires_grad_(keep) for t in vec.stepped(self.parameters, scale, direction)]
            outputs = self.forward(moved)
        with torch.no_grad():
            kl = mean_kl(self.likelihood(outputs.detach().double()), self._here)
        return kl, Landing(moved, outputs) if keep else None

    @cached_property
    def _here(self) -> Distribution:
        return self.likelihood(self.outputs.double())

    @undisturbed
    @without_reentrant()
    def kl_gradient(self, epsilon: Vectors) -> list[Tensor]:
        """∇D(ε), one forward and one backward pass."""
        values = [t.detach().requires_grad_() for t in vec.add(self.parameters, epsilon)]
        with torch.enable_grad():
            kl = mean_kl(self.likelihood(self.forward(values).double()), self._here)
        return filled(gradients(kl, (), values), values) if kl.requires_grad else vec.zeros_like(values)

    @undisturbed
    @without_reentrant()
    def fisher(self, v: Vectors) -> list[Tensor]:
        """Fv = Jᵀ H J v, H the Fisher information with respect to the outputs; two model products per call."""
        return list(self._jacobian.through(v, self._output_fisher))

    @undisturbed
    @without_reentrant()
    def drawn_fisher(self, cotangents: Tensor, v: Vectors) -> list[Tensor]:
        """Fv = (1/(K n)) Σ_k Σᵢ Jᵢᵀ u_kᵢ ⟨u_kᵢ, Jᵢv⟩ for cotangents u of shape [K, n, ...]; two model products per call."""
        draws, n = cotangents.shape[:2]
        u = cotangents.reshape(draws, n, -1).double()

        def information(tangent: Tensor) -> Tensor:
            along = torch.einsum("kne,ne->kn", u, tangent.reshape(n, -1).double())
            return torch.einsum("kn,kne->ne", along, u).reshape(tangent.shape) / (draws * n)

        return list(self._jacobian.through(v, information))

    @cached_property
    def _jacobian(self) -> Jacobian:
        return Jacobian(self.forward, self.parameters, self.recorder)

    @cached_property
    def _output_fisher(self) -> Callable[[Tensor], Tensor]:
        return information(self.likelihood, self.outputs)

    @undisturbed
    @without_reentrant()
    def mean_diagonal(self, cotangents: Tensor | None = None) -> Tensor:
        """tr(F)/P = (1/(K n P)) Σ ‖Jᵢᵀ u_kᵢ‖², by default exact. Sample by sample (vectorised) unless they are coupled."""
        u = Exact().cotangents(self.likelihood, self.outputs) if cotangents is None else cotangents
        draws, n = u.shape[:2]
        if not torch.isfinite(u).all():  # NaN propagates to the dual norm
            return torch.full((), torch.nan, dtype=torch.float64, device=u.device)
        roots, attempt = u.transpose(0, 1), Attempt()
        try:
            squares = None if self.alone is None else self._squares_alone(roots)
        except Exception as error:  # an operation without a batching rule, or a model that does not run on one sample
            attempt.refused(error)
            squares = None
        squares = self._squares_together(roots) if squares is None else squares
        return squares / (draws * n * vec.count(self.parameters))

    def _squares_alone(self, roots: Tensor) -> Tensor | None:
        """None where a sample's outputs are others than in the batch: samples meet."""
        alone, inputs = self.alone  # type: ignore[misc]
        theta = tuple(p.detach() for p in self.parameters)

        def squares(x: Any, root: Tensor) -> tuple[Any, Tensor]:
            z, pull = torch.func.vjp(lambda *p: alone(p, x), *theta)  # type: ignore[misc]
            return sum(t.double().square().sum() for t in torch.func.vmap(pull)(root)), z

        width = max(1, limits.CHUNK // (8 * roots.shape[1] * vec.count(theta)))
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no batching rule
            found, outputs = torch.func.vmap(squares, chunk_size=width)(inputs, roots)
        same = (outputs - self.outputs).abs() <= agreement(outputs.dtype) * self.outputs.abs().amax()
        return found.sum() if same.all() else None

    def _squares_together(self, roots: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64, device=roots.device)
        for i, root in enumerate(roots):
            u = torch.zeros(root.shape[0], *self.outputs.shape, dtype=root.dtype, device=root.device)
            u[:, i] = root
            pulled = self._jacobian.pull(u, batched=True)
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
        recorder = None if self.recorder is None else self.recorder.restrict(index, full)
        return Predictive(forward, self.likelihood, [full[i] for i in index], self.outputs, alone, recorder)
