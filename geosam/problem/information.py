"""The Fisher information of a predictive distribution in the model's outputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Laplace, TransformedDistribution
from torch.distributions.utils import _sum_rightmost

from ..core.undo import pass_on
from .likelihoods import Likelihood, bernoulli, categorical, divergence, gaussian, mean_kl

_STEPS = [10.0**-k for k in range(3, 11)]
_NOISE, _AGREE = 1e-13, 0.05


def information(likelihood: Likelihood, outputs: Tensor) -> Callable[[Tensor], Tensor]:
    """u ↦ Hu, float64, H the Fisher information in the outputs z of the mean over ``batch_shape``, a block for each sample.

    Closed forms for the likelihoods of torch's losses; else H = ∇²KL(p_{z+δ} ‖ p_z) at δ = 0, which is compared with KL
    itself around z. Raises: TypeError naming the distribution where there is no KL, or where it has no such curvature: a
    support that moves with the parameters, a kink.
    """
    z = outputs.detach().double()
    closed = next((product for known, product in _CLOSED.items() if known is likelihood), None)
    if closed is not None:
        return closed(z)
    here, moved = likelihood(z), z.clone().requires_grad_()
    refuse_moving_support(likelihood(moved))
    with torch.enable_grad():
        kl = _local(likelihood(moved), here).mean()
        slope = torch.autograd.grad(kl, moved, create_graph=True, materialize_grads=True)[0] if kl.requires_grad else None

    def product(u: Tensor) -> Tensor:
        if slope is None or not slope.requires_grad:
            return torch.zeros_like(z)
        return torch.autograd.grad(slope, moved, u.double(), retain_graph=True, materialize_grads=True)[0]

    if torch.isfinite(z).all() and not _is_curvature(likelihood, z, product):
        raise TypeError(
            f"the KL divergence of {_name(here)} around the outputs is not ½ δᵀHδ with the H that autograd gives: it has a "
            "kink, or transforms that depend on the outputs. So the exact Fisher information is not known. Use "
            "sampling=MonteCarlo(n), which takes scores only, or register a smooth KL by torch.distributions.register_kl."
        )
    return product


def refuse_meeting(likelihood: Likelihood, plain: Tensor, weighted: Tensor, c: Tensor) -> None:
    """ValueError unless cᵢ on sample i's terms gave cᵢ times sample i's derivatives: else likelihoods of samples meet.

    plain, weighted: [..., n, E], without and with the weights c, [n].
    """
    wanted = plain * c.unsqueeze(1)
    if torch.linalg.vector_norm(weighted - wanted) > 1e-6 * torch.linalg.vector_norm(wanted):
        name = getattr(likelihood, "__name__", likelihood)
        raise ValueError(
            f"the likelihood {name} lets samples meet: a sample's distribution depends on outputs of others, as where the "
            "batch is not their first dimension, so that there are no scores of single samples. Fisher(rows_limit=0) with an "
            "absolute damping takes products with the whole matrix."
        )


def irregular(n: int, like: Tensor) -> Tensor:
    """n weights in [1, 2), no two alike."""
    return 1 + torch.arange(1, n + 1, device=like.device, dtype=torch.float64).mul(0.618034).frac()


def check_scores(likelihood: Likelihood, outputs: Tensor) -> None:
    """TypeError unless log p of drawn labels moves with the outputs as autograd says; two evaluations of it.

    A likelihood that detaches outputs has scores that lack these. The random state is unchanged.
    """
    z = outputs.detach().double()
    if any(known is likelihood for known in _CLOSED) or not torch.isfinite(z).all():
        return
    with torch.no_grad(), torch.random.fork_rng():
        labels = likelihood(z).sample()
    moved = z.clone().requires_grad_()
    with torch.enable_grad():
        found = likelihood(moved).log_prob(labels).sum()
        slope = torch.autograd.grad(found, moved, materialize_grads=True)[0] if found.requires_grad else torch.zeros_like(z)
    direction = (1 + z.abs()) * _signs(z)
    along, size = (slope * direction).sum().item(), abs(found.item())
    for h in _STEPS:
        try:
            up, down = (likelihood(z + s * h * direction).log_prob(labels).sum().item() for s in (1, -1))
        except ValueError as error:  # outside the parameters' domain
            pass_on(error)
            continue
        rise = (up - down) / (2 * h)
        if not abs(rise - along) > _AGREE * max(abs(rise), abs(along)) + _NOISE * size / h:
            return
    raise TypeError(
        f"the score of {_name(likelihood(z))} is not the derivative of its log_prob in the outputs ({along:.3g} along some "
        f"direction, by differences {rise:.3g}): the likelihood detaches outputs, or has a kink. Let it follow all of them."
    )


def _signs(z: Tensor) -> Tensor:
    """±1 in no regular order."""
    return torch.cos(torch.arange(z.numel(), device=z.device) * 2.4 + 1).sign().reshape(z.shape)


def refuse_moving_support(distribution: Distribution) -> None:
    """TypeError where the support depends on the outputs: then the score's covariance is no Fisher information."""
    try:
        support = distribution.support
    except NotImplementedError:
        return
    if _moves(support):
        raise TypeError(
            f"the support of {_name(distribution)} depends on the outputs, so that it has no Fisher information: KL is "
            "infinite on one side. Use a likelihood with a fixed support."
        )


def _moves(constraint: Any) -> bool:
    parts = vars(constraint).values()
    return any(v.requires_grad if isinstance(v, Tensor) else hasattr(v, "check") and _moves(v) for v in parts)


def _name(distribution: Distribution) -> str:
    inner = getattr(distribution, "base_dist", None)
    return type(distribution).__name__ + (f"({_name(inner)})" if isinstance(inner, Distribution) else "")


def _local(new: Any, old: Any) -> Tensor:
    """KL(new ‖ old), or what has its second derivative at new = old where autograd meets a kink there."""
    kind, same = type(new), type(new) is type(old)
    if same and kind is Independent:
        return _sum_rightmost(_local(new.base_dist, old.base_dist), new.reinterpreted_batch_ndims)
    if same and kind is TransformedDistribution and new.transforms == old.transforms:
        return _sum_rightmost(_local(new.base_dist, old.base_dist), len(new.event_shape) - len(new.base_dist.event_shape))
    if same and kind is Laplace:
        # |δ|/b + exp(−|δ|/b) − 1 = δ²/(2b²) + O(|δ|³), of which autograd sees sign(0) = 0
        return ((new.loc - old.loc).square() + (new.scale - old.scale).square()) / (2 * old.scale.square())
    return divergence(new, old)


def _is_curvature(likelihood: Likelihood, z: Tensor, product: Callable[[Tensor], Tensor]) -> bool:
    """Whether KL(p_{z±δ} ‖ p_z) is ½ δᵀHδ for some small irregular δ, on both sides; one that agrees is enough."""
    signs = _signs(z)
    resolved = False
    for size in (1 + z.abs(), z.abs()):
        direction = size * signs
        half = (direction * product(direction)).sum().item() / 2
        for h in _STEPS:
            try:
                found = [mean_kl(likelihood(z + s * h * direction), likelihood(z)).item() for s in (1, -1)]
            except ValueError as error:  # outside the parameters' domain
                pass_on(error)
                resolved = True
                continue
            wanted = half * h * h
            most = max(abs(kl) for kl in (wanted, *found))
            if most <= _NOISE:  # of KL as a difference
                break
            resolved = True
            if math.isfinite(most) and all(abs(kl - wanted) <= _AGREE * most for kl in found):
                return True
    return not resolved


def _softmax(z: Tensor) -> Callable[[Tensor], Tensor]:
    p, count = z.softmax(1), z.shape[0] * z[0, 0].numel()
    return lambda u: p * (u.double() - (p * u).sum(1, keepdim=True)) / count


def _entries(variance: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Callable[[Tensor], Tensor]]:
    return lambda z: lambda u: variance(z) * u.double() / z.numel()


_CLOSED: dict[Likelihood, Callable[[Tensor], Callable[[Tensor], Tensor]]] = {
    categorical: _softmax,
    bernoulli: _entries(lambda z: z.sigmoid() * (-z).sigmoid()),
    gaussian: _entries(lambda z: torch.full_like(z, 2.0)),
}
