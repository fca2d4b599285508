"""One dropout mask for several forward passes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType

import torch
from torch import Tensor

from ..core import Vectors


@dataclass
class Replay:
    """A context that repeats the random numbers that follow the state at ``now``; outside, the random state is unchanged."""

    device: torch.device
    state: Tensor
    outer: list[Tensor] = field(default_factory=list)
    used: bool = False
    """Whether a pass inside the context has used a random number."""

    @classmethod
    def now(cls, parameters: Vectors) -> Replay:
        """From the current state of the generator on the parameters' device."""
        device = parameters[0].device
        return cls(device, cls._get(device))

    @property
    def over(self) -> bool:
        """Whether random numbers were used since ``now``."""
        return not torch.equal(self._get(self.device), self.state)

    @staticmethod
    def _get(device: torch.device) -> Tensor:
        return torch.get_rng_state() if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device)

    def _set(self, state: Tensor) -> None:
        if self.device.type == "cpu":
            torch.set_rng_state(state)
        else:
            torch.get_device_module(self.device).set_rng_state(state, self.device)

    def rewind(self) -> None:
        """Set the generator back to its state at ``now``."""
        self._set(self.state)

    def __enter__(self) -> Replay:
        self.outer.append(self._get(self.device))
        self._set(self.state)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.used = self.used or self.over
        self._set(self.outer.pop())
