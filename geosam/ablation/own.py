"""That every run has weights of its own."""

from __future__ import annotations

from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

_taken = WeakIdKeyDictionary()
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
