"""θ again when the next backward pass ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import register_multi_grad_hook

from ..core import Vectors

_TWICE = (
    "a second backward pass came after one perturb(until='backward'), whose ε* had gone with the first: it differentiates at "
    "θ. Call perturb before each backward pass, or use until='step'. Checkpoints with use_reentrant=True run backward passes "
    "inside one: use use_reentrant=False."
)


def at_the_end(parameters: Vectors, put_back: Callable[[], Any]) -> Any:
    """The handle of a hook that calls ``put_back`` when a backward pass to these ends. RuntimeError in a second one."""
    ended: list[bool] = []

    def end() -> None:
        ended.append(True)
        put_back()

    def on_first_gradient(_: Tensor) -> None:
        if ended:
            raise RuntimeError(_TWICE)
        torch.autograd.Variable._execution_engine.queue_callback(end)

    return register_multi_grad_hook(parameters, on_first_gradient, mode="any")
