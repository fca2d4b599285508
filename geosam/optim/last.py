"""What can be read of a step: its numbers, and ε while the parameters are displaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Last:
    """Numbers of one step, 0-dimensional tensors on the device; reading one is the caller's synchronisation.

    loss: of the first pass. dual_norm: ‖c‖*. radius: the norm of ε* (√(2D) for a divergence). finite: whether the first pass
    was. skipped: whether the update was withheld because the second pass's gradient was not finite. report: the solver's own.
    """

    loss: Tensor
    dual_norm: Tensor
    radius: Tensor
    finite: Tensor
    skipped: Tensor
    report: Mapping[str, Any]


class Perturbed:
    """What :meth:`SAM.perturbed` yields: the first pass's loss, and ε while the parameters are displaced."""

    def __init__(self, last: Last, realised: Callable[[], list[Tensor]]) -> None:
        self.last, self._realised = last, realised

    @property
    def loss(self) -> Tensor:
        """The batch mean loss at θ."""
        return self.last.loss

    @property
    def epsilon(self) -> list[Tensor]:
        """θ' − θ as realised in the parameters' own precision, in parameter order. RuntimeError outside the context."""
        return self._realised()
