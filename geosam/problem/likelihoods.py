"""Predictive distributions: outputs → torch.distributions, from the loss or from the user.

Convention: the loss is the mean of −log p over the distribution's ``batch_shape``, up to a constant, and so D and F average
over that shape as well. A classifier that scores every pixel has one distribution per pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal, kl_divergence
from torch.distributions.kl import _KL_REGISTRY, _dispatch_kl, _kl_expfamily_expfamily
from torch.distributions.utils import _sum_rightmost

from .modules import as_written

__all__ = ["Likelihood", "bernoulli", "categorical", "divergence", "gaussian", "mean_kl", "of_loss"]

Likelihood = Callable[[Tensor], Distribution]


def categorical(outputs: Tensor) -> Distribution:
    """Softmax over dimension 1, torch's convention for class scores: outputs [n, C, ...] → batch_shape [n, ...]."""
    return Categorical(logits=outputs.movedim(1, -1), validate_args=False)


def bernoulli(outputs: Tensor) -> Distribution:
    """A Bernoulli variable per entry, from logits, as two classes: torch's Bernoulli has an infinite KL for logits above 37."""
    return Categorical(logits=torch.stack([torch.zeros_like(outputs), outputs], -1), validate_args=False)


def gaussian(outputs: Tensor) -> Distribution:
    """N(f, ½) for each entry: the variance at which −log p is the squared error up to a constant."""
    return Normal(outputs, torch.full((), 0.5, dtype=outputs.dtype, device=outputs.device).sqrt(), validate_args=False)


_OF_LOSS: dict[type[nn.Module], Likelihood] = {
    nn.CrossEntropyLoss: categorical,
    nn.NLLLoss: categorical,
    nn.BCEWithLogitsLoss: bernoulli,
    nn.MSELoss: gaussian,
}


def of_loss(loss: Any) -> Likelihood | None:
    """The distribution whose negative log-likelihood the loss is; None if none is known.

    Class weights and label smoothing change the loss but not the model: the distribution is that of the plain loss.
    """
    return _OF_LOSS.get(type(loss)) if isinstance(loss, nn.Module) and as_written(loss) else None


def mean_kl(new: Distribution, old: Distribution) -> Tensor:
    """E_x KL(new ‖ old): the mean over ``batch_shape``."""
    return divergence(new, old).mean()


def divergence(new: Distribution, old: Distribution) -> Tensor:
    """KL(new ‖ old), of shape ``batch_shape``. Raises: TypeError naming the two where torch has none, or a base class's."""
    _refuse_inherited(new)
    graded = torch.is_grad_enabled()
    try:
        with torch.enable_grad():  # that of exponential families differentiates inside
            found = _kl(new, old)
        return found if graded else found.detach()
    except NotImplementedError as error:
        raise TypeError(
            f"torch.distributions has no KL between {type(new).__name__} and {type(old).__name__}; register one with "
            "torch.distributions.register_kl, or use a likelihood that has it."
        ) from error


def _kl(new: Any, old: Any) -> Tensor:
    """Torch's KL(new ‖ old); that of all exponential families as a function of ``new`` too, whose parameters torch detaches."""
    if type(new) is type(old) is Independent:
        return _sum_rightmost(_kl(new.base_dist, old.base_dist), new.reinterpreted_batch_ndims)
    if type(new) is not type(old) or _dispatch_kl(type(new), type(old)) is not _kl_expfamily_expfamily:
        return kl_divergence(new, old)
    # D = A(η') − A(η) − ⟨η' − η, ∇A(η)⟩, η of new
    eta = [t if t.requires_grad else t.detach().requires_grad_() for t in new._natural_params]
    normaliser = new._log_normalizer(*eta)
    means = torch.autograd.grad(normaliser.sum(), eta, create_graph=True)
    terms = [
        _sum_rightmost((theirs - own) * mean, len(new.event_shape))
        for own, theirs, mean in zip(eta, old._natural_params, means, strict=True)
    ]
    return old._log_normalizer(*old._natural_params) - normaliser - sum(terms)


def _refuse_inherited(distribution: Any) -> None:
    """TypeError where torch would take the KL of a base class, and this class has another ``log_prob``."""
    while isinstance(distribution, Distribution):
        kind = type(distribution)
        base: Any = next((c for c in kind.__mro__ if (c, c) in _KL_REGISTRY), kind)
        general = base.log_prob is Distribution.log_prob  # a KL for all exponential families, from the parameters of each
        if not general and kind.log_prob is not base.log_prob and not _agree(distribution, base):
            raise TypeError(
                f"torch.distributions takes the KL of {base.__name__} for {kind.__name__}, whose log_prob is another. Register "
                f"its own: torch.distributions.register_kl({kind.__name__}, {kind.__name__})."
            )
        distribution = getattr(distribution, "base_dist", None)


def _agree(distribution: Distribution, base: type[Distribution]) -> bool:
    """Whether both classes give one density at a label, or the base's is not defined; the random state is unchanged."""
    with torch.no_grad(), torch.random.fork_rng():
        label = distribution.sample()
        try:
            known = base.log_prob(distribution, label)
        except NotImplementedError:
            return True
        return torch.equal(distribution.log_prob(label), known)
