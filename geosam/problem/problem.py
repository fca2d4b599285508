"""A model with its training loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.loss import _Loss
from torch.utils._pytree import tree_leaves

from ..core import brief, check_callable
from .bound import Bound
from .likelihoods import Likelihood, of_loss
from .losses import Loss, canonical, sample_loss
from .modules import as_written

CHECKS = ("always", "sampled", "first")


class Problem:
    """A model and its training loss; ``on(x, y)`` binds a batch.

    loss: (outputs, y) → batch mean loss, a torch loss module, its function, or any callable. likelihood: outputs →
    ``torch.distributions.Distribution``; by default the one whose negative log-likelihood the loss is (softmax for
    cross-entropy, N(f, ½) for squared error, Bernoulli for logits). frozen_statistics: where BatchNorm in training mode couples
    the samples, per-sample quantities (rows, squares, label draws, Kronecker factors) and g are computed with the batch's mean
    and biased variance at θ held constant; they lack the terms through the statistics (see
    :mod:`geosam.problem.frozen`). By default such a request is refused. check: on which batches per-sample rows are compared
    with autograd (:mod:`geosam.engines.verify`): "sampled", the first ten of a structure (modes, parameters, engine), then
    three in two hundred at random; "first", the first one; "always". Raises: ValueError for reduction 'sum' or 'none'.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        likelihood: Likelihood | None = None,
        *,
        frozen_statistics: bool = False,
        check: str = "sampled",
    ) -> None:
        if check not in CHECKS:
            raise ValueError(f"check says on which batches rows are verified: one of {', '.join(CHECKS)}; got {check!r}")
        if not isinstance(model, nn.Module) or not callable(loss) or isinstance(loss, type) or isinstance(model, _Loss):
            raise TypeError(
                "Problem(model, loss) takes a module and a loss to call, e.g. torch.nn.CrossEntropyLoss(), in this order; got "
                f"{brief(model)} and {f'the class {loss.__name__}' if isinstance(loss, type) else brief(loss)}"
            )
        if likelihood is not None:
            check_callable("likelihood", likelihood, "lambda outputs: torch.distributions.Categorical(logits=outputs)")
        self.model, self.loss, self._given = model, canonical(loss), likelihood
        self.frozen_statistics, self.check = bool(frozen_statistics), check
        self._read_loss()

    def _read_loss(self) -> None:
        """What is known of the loss by its type. A hook that is put on it, or taken off, later makes it another one."""
        self._written = _is_as_written(self.loss)
        self.likelihood = self._given or of_loss(self.loss)
        self.sample = sample_loss(self.loss)
        self._memory: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"Problem({brief(self.model)}, {brief(self.loss)})"

    def on(self, x: Any, y: Any) -> Bound:
        """The problem on one batch. x: a tensor, a tuple of arguments or a dict of keyword arguments, batch first."""
        tensors = [t for t in tree_leaves((x, y)) if isinstance(t, Tensor)]
        sizes = {t.shape[0] if t.dim() else None for t in tensors}
        if len(sizes) != 1 or None in sizes:
            shapes = [tuple(t.shape) for t in tensors]
            if not shapes:
                raise TypeError(f"a batch is of tensors: torch.as_tensor(x); got {type(x).__name__} and {type(y).__name__}")
            raise ValueError(f"inputs and targets must share their first dimension, the batch; got shapes {shapes}")
        (n,) = sizes
        if self.sample.known and not isinstance(y, Tensor):
            raise TypeError(f"targets of {brief(self.loss)} are one tensor, such as torch.as_tensor(y); got {type(y).__name__}")
        if not n:
            raise ValueError("the batch is empty: a mean over no samples is not defined")
        x = dict(x) if isinstance(x, Mapping) else x
        if _is_as_written(self.loss) != self._written:
            self._read_loss()
        shared = (self.model, self.loss, self.sample, self.likelihood, x, y, int(n), self._memory)
        with_grad = [t for t in tensors if t.requires_grad]
        return Bound(*shared, frozen_statistics=self.frozen_statistics, check=self.check, inputs_with_grad=with_grad)


def _is_as_written(loss: Loss) -> bool:
    return isinstance(loss, nn.Module) and as_written(loss)
