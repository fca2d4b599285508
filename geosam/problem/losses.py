"""Per-sample losses: ℓᵢ with (1/n) Σ ℓᵢ = the batch mean loss, exactly, for every reduction rule of the loss.

Class weights and ``ignore_index`` change the denominator of torch's mean: Σ w(yᵢ) over the targets that count. Then
ℓᵢ = n · (sum of sample i's unreduced entries) / denominator, so that g = (1/n) Σ ∇ℓᵢ stays true.
"""

from __future__ import annotations

import copy
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from ..core.limits import rounding
from ..core.undo import Attempt, pass_on
from .modules import as_written
from .reading import Instead, widened

Loss = Callable[[Any, Any], Tensor]

_CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss)
_ENTRIES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCELoss, nn.BCEWithLogitsLoss, nn.SoftMarginLoss)
_FUNCTIONS: dict[Callable[..., Tensor], Callable[..., nn.Module]] = {
    F.cross_entropy: nn.CrossEntropyLoss,
    F.nll_loss: nn.NLLLoss,
    F.mse_loss: nn.MSELoss,
    F.l1_loss: nn.L1Loss,
    F.smooth_l1_loss: nn.SmoothL1Loss,
    F.huber_loss: nn.HuberLoss,
    F.binary_cross_entropy: nn.BCELoss,
    F.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
    F.soft_margin_loss: nn.SoftMarginLoss,
}


def canonical(loss: Loss) -> Loss:
    """The module behind a functional loss (also inside ``functools.partial``); ValueError unless it averages over the batch."""
    if isinstance(loss, functools.partial) and not loss.args and loss.func in _FUNCTIONS:
        loss = _FUNCTIONS[loss.func](**loss.keywords)
    loss = next((module() for function, module in _FUNCTIONS.items() if function is loss), loss)
    check_reduction(loss)
    return loss


def check_reduction(loss: Loss) -> None:
    """ValueError unless it averages over the batch."""
    reduction = getattr(loss, "reduction", "mean")
    if reduction in ("sum", "none"):
        raise ValueError(
            f"the loss has reduction={reduction!r}; radii and Fisher matrices are defined for the batch mean loss. "
            "Build it with reduction='mean'."
        )


class SampleLoss(ABC):
    """ℓ₁ … ℓₙ of a batch. ``factor`` is computed once for the batch, ``one`` for a single sample (it can be mapped over).

    known: whether it is one of torch's losses, so that its slopes may be computed in another precision than the outputs'.
    """

    known: bool = False

    @abstractmethod
    def factor(self, targets: Any, outputs: Callable[[], Tensor]) -> Tensor | float:
        """The factor of each sample's own loss that makes the mean of ℓ the batch loss. May call ``outputs``."""

    @abstractmethod
    def one(self, outputs: Tensor, targets: Any, factor: Tensor | float) -> Tensor:
        """ℓ of a batch of one, outputs of shape [1, ...]."""

    @abstractmethod
    def all(self, outputs: Tensor, targets: Any) -> Tensor:
        """ℓ, shape [n]."""

    def slopes(self, outputs: Tensor, targets: Any) -> Tensor:
        """∂ℓᵢ/∂zᵢ, [n, ...], in float64 where the loss allows it: then 1 − p keeps its digits near p = 1."""
        attempt = Attempt()
        try:
            with Instead():
                return _slope(self, outputs.double(), widened(targets))
        except (RuntimeError, ValueError) as error:  # a loss of one type only
            attempt.refused(error)
            return _slope(self, outputs, targets)

    def check(self, outputs: Any, targets: Any) -> None:
        """ValueError where the batch loss would average over other entries than it seems to (by broadcasting).

        TypeError for targets of a type that torch's loss does not take.
        """


def _slope(loss: SampleLoss, outputs: Tensor, targets: Any) -> Tensor:
    z = outputs.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(loss.all(z, targets).sum(), z)[0]


def one_number(loss: Tensor) -> Tensor:
    """The loss itself; ValueError unless it is 0-dimensional."""
    if loss.dim() != 0:
        raise ValueError(f"the loss has shape {tuple(loss.shape)}; it must be one number, the mean over the batch")
    return loss


def sample_loss(loss: Loss) -> SampleLoss:
    """The per-sample form of a loss that averages over the batch."""
    if isinstance(loss, nn.Module) and as_written(loss) and type(loss) in _CLASSES:
        return _OverClasses(loss)
    if isinstance(loss, nn.Module) and as_written(loss) and type(loss) in _ENTRIES:
        return _OverEntries(loss)
    return _Opaque(loss)


class _Known(SampleLoss):
    """One of torch's losses, by its unreduced entries."""

    known = True

    def __init__(self, loss: nn.Module) -> None:
        self.loss, self.entries, self._taken = loss, copy.copy(loss), set[torch.dtype]()
        self._follow()

    def check(self, outputs: Any, targets: Any) -> None:
        if not as_written(self.loss):
            raise RuntimeError("a hook was put on the loss after this batch was bound: bind it again, problem.on(x, y)")
        check_reduction(self.loss)

    def _follow(self) -> None:
        """The loss's settings as they are now: a schedule may change its label smoothing or its weight."""
        vars(self.entries).update({**vars(self.loss), "reduction": "none"})


class _OverClasses(_Known):
    """Cross-entropy and NLL: torch divides by Σ w(yᵢ) over the targets that count, or by their number if soft."""

    def check(self, outputs: Any, targets: Any) -> None:
        super().check(outputs, targets)
        if targets.dtype not in (torch.int64, torch.uint8) and not targets.is_floating_point():
            raise TypeError(f"the targets are {targets.dtype}, and torch's losses over classes take int64: y.long()")

    def factor(self, targets: Any, outputs: Callable[[], Tensor]) -> Tensor | float:
        self._follow()
        self.check(None, targets)
        if targets.is_floating_point():
            return targets.shape[0] / (targets.numel() / targets.shape[1])
        targets, loss = targets.long(), cast(Any, self.loss)  # uint8 would index as a mask
        counted, weight = targets != loss.ignore_index, loss.weight
        if weight is None:
            return targets.shape[0] / counted.sum(dtype=torch.float64)
        weights = weight[torch.where(counted, targets, 0)]
        return targets.shape[0] / torch.where(counted, weights, 0).sum(dtype=torch.float64)

    def one(self, outputs: Tensor, targets: Any, factor: Tensor | float) -> Tensor:
        entries = self.entries(outputs, targets)
        return (entries.sum() * factor).to(entries.dtype)

    def all(self, outputs: Tensor, targets: Any) -> Tensor:
        factor = self.factor(targets, lambda: outputs)
        return self.entries(outputs, targets).reshape(outputs.shape[0], -1).sum(1) * factor

    def slopes(self, outputs: Tensor, targets: Any) -> Tensor:
        """For hard labels, weighted or not: n wᵢ(p − e_y)/Σw in closed form, because every step of a classifier needs it."""
        loss: Any = self.loss
        if not isinstance(loss, nn.CrossEntropyLoss) or loss.label_smoothing or targets.is_floating_point():
            return super().slopes(outputs, targets)
        targets = targets.long()
        counted = targets != loss.ignore_index
        labels = torch.where(counted, targets, 0)
        each = self.factor(targets, lambda: outputs) * counted.double()
        if loss.weight is not None:
            each = each * loss.weight.double()[labels]
        p = outputs.detach().double().softmax(1)
        p.scatter_add_(1, labels.unsqueeze(1), torch.full_like(p[:, :1], -1.0))
        return p.mul_(each.unsqueeze(1))


class _OverEntries(_Known):
    """Losses that compare outputs and targets entry by entry and average over all of them."""

    def factor(self, targets: Any, outputs: Callable[[], Tensor]) -> Tensor | float:
        self._follow()
        self._try(targets)
        weights = (getattr(self.loss, name, None) for name in ("weight", "pos_weight"))
        # torch aligns shapes at their ends, so these sizes are aligned with the samples
        meeting = (k for w in weights if w is not None for k in w.shape[: max(0, w.dim() - targets.dim() + 1)])
        if any(k > 1 for k in meeting):
            raise ValueError("a loss weight with a batch dimension ties the loss to one batch; weight the entries instead")
        return 1.0

    def one(self, outputs: Tensor, targets: Any, factor: Tensor | float) -> Tensor:
        return self.all(outputs, targets).sum()

    def all(self, outputs: Tensor, targets: Any) -> Tensor:
        self.check(outputs, targets)
        self.factor(targets, lambda: outputs)
        return self.entries(outputs, targets).reshape(outputs.shape[0], -1).mean(1)

    def check(self, outputs: Any, targets: Any) -> None:
        super().check(outputs, targets)
        if outputs.shape != targets.shape:
            raise ValueError(
                f"outputs have shape {tuple(outputs.shape)} and targets {tuple(targets.shape)}; broadcasting them would "
                "change what the loss averages over. Reshape one of them."
            )
        self._try(targets)

    def _try(self, targets: Tensor) -> None:
        """Some of these losses take integers, and some only in the forward pass. Once for each type."""
        if targets.is_floating_point() or targets.dtype in self._taken:
            return
        outputs = torch.zeros_like(targets[:1], dtype=torch.float32, requires_grad=True)
        try:
            with torch.enable_grad():
                self.entries(outputs, targets[:1]).sum().backward()
            self._taken.add(targets.dtype)
        except RuntimeError as error:
            pass_on(error)
            raise TypeError(
                f"the targets are {targets.dtype}, and {type(self.loss).__name__} compares real numbers: y.to(outputs.dtype)"
            ) from error


class _Opaque(SampleLoss):
    """Any other callable: sample i's loss is that of a batch of it alone. Checked, because for many losses it is not."""

    def __init__(self, loss: Loss) -> None:
        self.loss = loss

    def factor(self, targets: Any, outputs: Callable[[], Tensor]) -> Tensor | float:
        with torch.no_grad():
            z = outputs()
        if _samples(z, targets) is None:  # the model's own loss, which rows are verified by
            return 1.0
        with torch.enable_grad():  # the loss may differentiate inside
            together, alone = one_number(self.loss(z, targets)).detach(), self._alone(z, targets).mean().detach()
        tolerance = rounding(alone.dtype)
        if not torch.allclose(together, alone, rtol=tolerance, atol=tolerance, equal_nan=True):
            raise ValueError(
                f"the loss of the batch is {together.item():.6g}, but its samples taken alone average {alone.item():.6g}: "
                "this loss is not a mean over samples (a sum, weights by batch, or samples that meet each other), so it has "
                "no per-sample gradients. Use a mean over samples, or a metric that needs the gradient only."
            )
        return 1.0

    def one(self, outputs: Tensor, targets: Any, factor: Tensor | float) -> Tensor:
        return self.loss(outputs, targets)

    def all(self, outputs: Tensor, targets: Any) -> Tensor:
        self.factor(targets, lambda: outputs)
        return self._alone(outputs, targets)

    def _alone(self, outputs: Tensor, targets: Any) -> Tensor:
        samples = _samples(outputs, targets)
        if samples is None:
            raise ValueError(
                "neither outputs nor targets have a dimension of samples, as where the model computes the loss itself: there "
                "are no losses of single samples. Let the model return its outputs, and give the loss to Problem(model, loss)."
            )
        rows = [tree_map(lambda t, i=i: t[i : i + 1] if _has_samples(t) else t, (outputs, targets)) for i in range(samples)]
        attempt = Attempt()
        try:
            return torch.stack([self.loss(*row) for row in rows])
        except Exception as error:
            attempt.refused(error)
            shapes = [tuple(t.shape) for t in tree_leaves((outputs, targets)) if isinstance(t, Tensor)]
            raise ValueError(
                f"the loss does not run on one sample alone, the first entry of outputs and targets, whose shapes are {shapes} "
                f"({type(error).__name__}: {str(error).strip().splitlines()[0]}). Let the model return the batch as the first "
                "dimension, and flatten or transpose in the loss; or use a metric that needs the gradient only."
            ) from error


def _samples(outputs: Any, targets: Any) -> int | None:
    return next((t.shape[0] for t in tree_leaves((outputs, targets)) if _has_samples(t)), None)


def _has_samples(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.dim() > 0
