"""That every run has weights, and a loss and metrics, of its own: what another run left in them would be in its numbers."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

T = TypeVar("T")

_taken: Any = WeakIdKeyDictionary()
"""Parameters that a run has had."""


def check_own(model: nn.Module) -> None:
    """Raises: ValueError where an earlier run has trained these weights."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter in _taken:
            raise ValueError(
                f"model(seed) gives {name!r} of another run, which has trained it: make a new network each time, such as "
                "lambda seed: network(), or copy.deepcopy(network)"
            )
        _taken[parameter] = True


def own(shared: T) -> T:
    """A copy for one run; what cannot be copied as it is."""
    try:
        return copy.deepcopy(shared)
    except Exception:
        return shared
