"""Where the tests' tensors lie, and which branches of the library run: the options ``--device`` and ``--no-host-reads``.

Tests make tensors as on a CPU. For another device they are still drawn there, from the same generators, with the same numbers,
and then moved. The library is left alone: what it makes without naming a device stays on the CPU, and fails with the others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

import geosam
from geosam.core import vectors

_device = torch.device("cpu")
_session = ExitStack()


def device() -> torch.device:
    """Where models and batches of the tests lie."""
    return _device


class Moved(TorchFunctionMode):
    """What code outside the library makes without naming a device is made on the CPU and moved; ``numpy`` reads any device."""

    def __init__(self, to: torch.device) -> None:
        super().__init__()
        self.to = to

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.compiler.is_compiling():
            return func(*args, **kwargs)
        if func is torch.Tensor.numpy:
            return args[0].cpu().numpy(**kwargs)
        if func not in _device_constructors() or kwargs.get("device") is not None or _left_alone():
            return func(*args, **kwargs)
        drawn = kwargs.get("generator")
        if drawn is not None and drawn.device.type != "cpu":
            return func(*args, device=drawn.device, **kwargs)
        if isinstance(kwargs.get("out"), torch.Tensor):
            return func(*args, **kwargs)
        leaf = kwargs.pop("requires_grad", False)
        return func(*args, **kwargs).to(self.to).requires_grad_(leaf)


def _left_alone() -> bool:
    """Whether the library asks, or torch for itself: the optimizers' counters lie on the host. Layers are a test's."""
    name = f"{sys._getframe(2).f_globals.get('__name__')}."  # 0 here, 1 the mode
    return name.startswith((f"{geosam.__name__}.", "torch.")) and not name.startswith("torch.nn.")


@contextmanager
def reads_switched_off() -> Iterator[None]:
    """Inside, the library takes the branches of an accelerator, with numbers, on any device."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors.place, "on_host", lambda v: False)
        yield


def place(name: str, reads: bool) -> None:
    """For the whole session, before the first test file is read. In plain float32, and the same bits twice, where torch can."""
    global _device
    _device = torch.device(name)
    if _device.type != "cpu":
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
        _session.enter_context(Moved(_device))
    if not reads:
        _session.enter_context(reads_switched_off())
