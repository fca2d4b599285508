"""A likelihood is a function of the outputs alone: KL and Fisher matrices follow parameters through these."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..core.undo import Attempt
from .batch import Batch
from .examine import Touched
from .likelihoods import of_loss
from .modules import modules, structure
from .outputs import replaced
from .reading import tensors


def check_outputs_alone(batch: Batch, who: str) -> None:
    """Found once for each structure, by one evaluation of a likelihood that was given.

    Raises: ValueError naming what it reads besides: parameters, or what a pass has left in the model.
    """
    if batch.likelihood is None or batch.likelihood is of_loss(batch.loss):
        return
    found: list[str] = batch.remembered(("read", *structure(batch.model, batch.parameters)), lambda: _read(batch))
    if found:
        raise ValueError(
            f"the likelihood reads {', '.join(found)} besides the outputs, and {who} follows parameters through the outputs "
            "alone: its numbers would lack that part. Let the model return what the distribution is made of, e.g. "
            "torch.stack([mean, self.log_std.expand_as(mean)], -1), and the likelihood read the outputs."
        )


def _read(batch: Batch) -> list[str]:
    outputs = replaced(batch.outputs(), torch.clone)
    assert batch.likelihood is not None
    attempt = Attempt()
    try:
        with torch.enable_grad(), Touched() as touched:
            distribution = batch.likelihood(outputs)
    except Exception as error:  # it comes again where the distribution is formed
        attempt.refused(error)
        return []
    touched.read |= Touched.storages(tensors(distribution))
    return [name for name, t in _held(batch) if touched.reads(t)]


def _held(batch: Batch) -> Iterable[tuple[str, Tensor]]:
    """Parameters, and tensors in attributes that a forward pass computed from some."""
    yield from zip(batch.names(batch.parameters), batch.parameters, strict=True)
    for module in modules(batch.model):
        held: dict[str, Any] = vars(module)
        yield from ((k, t) for k, t in held.items() if isinstance(t, Tensor) and t.grad_fn is not None)
