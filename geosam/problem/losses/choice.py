"""Which form a loss has: torch's own are known by their classes and functions."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from ..modules import as_written
from .abstract import Loss, SampleLoss, check_reduction
from .classes import OverClasses
from .entries import OverEntries
from .opaque import Opaque

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


def sample_loss(loss: Loss, like: SampleLoss | None = None) -> SampleLoss:
    """The per-sample form of a loss that averages over the batch. like: that of a loss of which this one is a copy."""
    if isinstance(loss, nn.Module) and as_written(loss) and type(loss) in _CLASSES:
        return OverClasses(loss)
    if isinstance(loss, nn.Module) and as_written(loss) and type(loss) in _ENTRIES:
        return OverEntries(loss)
    return Opaque(loss, like.writes if isinstance(like, Opaque) else None)
