"""Every quantity by definition: a loop over single samples, dense matrices, float64. It calls nothing of geosam."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from tests.zoo.expectation import divergence, information
from tests.zoo.line import Setting, seed


def default_likelihood(loss: Any) -> Callable[[Tensor], torch.distributions.Distribution] | None:
    """The distribution whose negative log-likelihood the loss is, as torch names it."""
    D = torch.distributions
    known: dict[type, Callable[[Tensor], torch.distributions.Distribution]] = {
        nn.CrossEntropyLoss: lambda z: D.Categorical(logits=z.movedim(1, -1)),
        nn.NLLLoss: lambda z: D.Categorical(logits=z.movedim(1, -1)),
        nn.BCEWithLogitsLoss: lambda z: D.Bernoulli(logits=z),
        nn.MSELoss: lambda z: D.Normal(z, 0.5**0.5),
    }
    return known.get(type(loss))


class Truth:
    """A setting in float64: outputs sample by sample, what follows from them, each computed once."""

    def __init__(self, setting: Setting) -> None:
        self.loss, self.x, self.y, self.together = setting.loss, setting.x, setting.y, setting.together
        self.model = setting.plain or setting.model
        self.likelihood = setting.likelihood or default_likelihood(setting.loss)
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        self.names, self.theta = [name for name, _ in named], [p for _, p in named]
        self.start = setting.start
        self.n, self.size = len(tree_leaves(self.x)[0]), sum(p.numel() for p in self.theta)
        self.buffers = [b.clone() for b in self.model.buffers()]

    def one(self, i: int) -> Any:
        """The outputs for sample i alone, with a dimension of 1 for the batch."""
        return self._call(tree_map(lambda t: t[i : i + 1] if isinstance(t, Tensor) else t, self.x))

    def alone(self, i: int) -> Tensor:
        """The same without that dimension, after this sample's pass through the layers."""
        found: Tensor = self.one(i)
        return found[0]

    def _call(self, x: Any) -> Any:
        """As at the start, on inputs of its own, and by kernels that can be differentiated twice."""
        seed()
        self.start()
        x = tree_map(lambda t: t.clone() if isinstance(t, Tensor) else t, x)
        with torch.no_grad():
            for b, start in zip(self.model.buffers(), self.buffers, strict=True):
                if not torch.equal(b, start):
                    b.copy_(start)
        with sdpa_kernel(SDPBackend.MATH):
            return self._called(x)

    def _called(self, x: Any) -> Any:
        return self.model(**x) if isinstance(x, dict) else self.model(*x) if isinstance(x, tuple) else self.model(x)

    def run(self) -> Any:
        """The outputs of the batch."""
        if self.together:
            return self._call(self.x)
        return tree_map(lambda *t: torch.cat(t), *[self.one(i) for i in range(self.n)])

    @cached_property
    def outputs(self) -> Any:
        return self.run()

    @cached_property
    def value(self) -> Tensor:
        return self.loss(self.outputs, self.y)

    def pulled(self, scalar: Tensor, **options: Any) -> Tensor:
        """∂ scalar/∂θ, flat."""
        found = torch.autograd.grad(scalar, self.theta, retain_graph=True, allow_unused=True, **options)
        pairs = zip(found, self.theta, strict=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g.to_dense()).reshape(-1) for g, p in pairs])

    @cached_property
    def gradient(self) -> Tensor:
        return self.pulled(self.value).detach()

    @cached_property
    def rows(self) -> Tensor:
        """n ∂L/∂zᵢ ∂zᵢ/∂θ + ∂L/∂θ, the last where the loss reads parameters; samples do not meet in the loss."""
        leaves, tree = tree_flatten(self.outputs)
        if not any(t.dim() for t in leaves):  # the model computes the loss itself
            return torch.stack([self.pulled(self.loss(self.one(i), self.y)) for i in range(self.n)]).detach()
        ends = [t.detach().requires_grad_() for t in leaves]
        value = self.loss(tree_unflatten(ends, tree), self.y)
        slopes = torch.autograd.grad(value, ends, retain_graph=True, allow_unused=True, materialize_grads=True)
        direct = self.pulled(value) if any(True for p in self.theta if _reads(value, p)) else 0.0
        parts = [self.n * sum((z[i] * s[i]).sum() for z, s in zip(leaves, slopes, strict=True)) for i in range(self.n)]
        return torch.stack([self.pulled(part) + direct for part in parts]).detach()

    @cached_property
    def jacobians(self) -> Tensor:
        """∂zᵢ/∂θ, [n, E, P]."""
        return torch.stack([torch.stack([self.pulled(e) for e in z.reshape(-1)]) for z in self.outputs]).detach()

    @cached_property
    def informations(self) -> Tensor:
        """The Fisher information of each sample's distribution in its outputs, [n, E, E]."""
        assert self.likelihood is not None
        each = [information(self.likelihood, self.outputs[i : i + 1].detach()) for i in range(self.n)]
        return torch.stack(each)

    @cached_property
    def fisher(self) -> Tensor:
        return torch.einsum("nep,nef,nfq->pq", self.jacobians, self.informations, self.jacobians) / self.n

    def at(self, epsilon: Tensor, what: Callable[[], Any]) -> Any:
        """``what()`` at θ + ε."""
        parts = epsilon.split([p.numel() for p in self.theta])
        before = [p.detach().clone() for p in self.theta]
        with torch.no_grad():
            for p, e in zip(self.theta, parts, strict=True):
                p.add_(e.reshape(p.shape))
        try:
            return what()
        finally:
            with torch.no_grad():
                for p, b in zip(self.theta, before, strict=True):
                    p.copy_(b)
            for name in ("outputs", "value"):  # their graph does not outlive a write to θ
                vars(self).pop(name, None)

    def kl(self, epsilon: Tensor) -> Tensor:
        """E_x KL(p_{θ+ε} ‖ p_θ)."""
        assert self.likelihood is not None
        old = self.outputs.detach()
        new = self.at(epsilon, lambda: self.run().detach())
        return divergence(self.likelihood(new), self.likelihood(old))

    def rise(self, epsilon: Tensor) -> Tensor:
        """L(θ + ε) − L(θ)."""
        here = self.value.detach()
        moved: Tensor = self.at(epsilon, lambda: self.loss(self.run(), self.y).detach())
        return moved - here

    @cached_property
    def hessian(self) -> Tensor:
        """∇²L, column by column. By the whole batch, which is cheaper by n, once its gradient is that of single samples."""
        value = self.loss(self._call(self.x), self.y)
        slope = self.pulled(value, create_graph=True)
        assert (slope.detach() - self.gradient).norm() <= 1e-10 * self.gradient.norm(), "samples meet: set together"
        if not slope.requires_grad:
            return torch.zeros(self.size, self.size, dtype=slope.dtype)
        return torch.stack([self.pulled(s) if s.requires_grad else torch.zeros_like(slope) for s in slope])


def _reads(value: Tensor, p: Tensor) -> bool:
    return torch.autograd.grad(value, p, retain_graph=True, allow_unused=True)[0] is not None
