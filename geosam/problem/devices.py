"""Why tensors of a pass do not meet: the batch, or parts of the model, are on other devices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.utils._pytree import tree_leaves

from ..core.limits import out_of_memory
from .batch import Batch


@contextmanager
def explained(batch: Batch) -> Iterator[None]:
    """Inside, an error that comes of unlike devices names cause and cure. Nothing is checked before: models may move inputs."""
    try:
        yield
    except RuntimeError as error:
        reason = _reason(batch) if is_about_devices(error) else None
        if reason is None:
            raise
        raise RuntimeError(reason) from error


def is_about_devices(error: RuntimeError) -> bool:
    """Whether torch complains of devices, and not of memory."""
    return "device" in str(error) and not out_of_memory(error)


def _reason(batch: Batch) -> str | None:
    homes = {str(t.device): name for name, t in (*batch.model.named_parameters(), *batch.model.named_buffers())}
    for name, value in (("x", batch.x), ("y", batch.y)):
        places = {str(t.device) for t in tree_leaves(value) if isinstance(t, Tensor)}
        if homes and not places <= {*homes}:
            return (
                f"{name} is on {' and '.join(sorted(places))}, the model on {' and '.join(homes)}. Move the batch: "
                "problem.on(x.to(device), y.to(device))."
            )
    if len(homes) > 1:
        places_of = ", ".join(f"{name} on {device}" for device, name in homes.items())
        return (
            f"the model is on several devices ({places_of}), which meet in one operation. Move all of it by model.to(device) "
            "before the optimizer is built, or let forward move what passes between its parts."
        )
    return None
