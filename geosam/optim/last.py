"""What can be read of a step: its numbers, and ε while the parameters are displaced."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..core import Vectors


@dataclass(frozen=True)
class Last:
    """Numbers of one step, 0-dimensional tensors on the device; reading one is the caller's synchronisation.

    loss: of the first pass. dual_norm: ‖c‖*. radius: the norm of ε* (√(2D) for a divergence). finite: whether the first pass
    was. skipped: whether the update was withheld because the second pass's gradient was not finite. report: the solver's own.
    length, realised: ‖ε*‖₂ as computed and as the parameters took it, where one of them is below float32; else NaN.
    seconds: of the whole ``step``, on the host's clock: on an accelerator, until all is launched.
    """

    loss: Tensor
    dual_norm: Tensor
    radius: Tensor
    finite: Tensor
    skipped: Tensor
    report: Mapping[str, Any]
    seconds: float = math.nan
    length: Tensor | float = math.nan
    realised: Tensor | float = math.nan

    def __getattr__(self, name: str) -> NoReturn:
        """Raises: AttributeError that lists what there is."""
        if name.startswith("_"):
            raise AttributeError(name)
        own, reported = ", ".join(f.name for f in fields(self)), ", ".join(self.report) or "nothing"
        raise AttributeError(
            f"opt.last has no {name!r}; it has {own}, and report[...] of {reported}. ε itself is p.epsilon in "
            "'with opt.perturbed(source) as p'"
        )

    def numbers(self) -> dict[str, float]:
        """All that was measured, as plain numbers for a logger, by name; the report's under "report/…". One host read each."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "report"}
        reported = {f"report/{k}": v for k, v in self.report.items() if isinstance(v, Tensor | int | float)}
        measured = {k: v for k, v in (own | reported).items() if isinstance(v, Tensor) or not math.isnan(v)}
        return {name: float(value) for name, value in measured.items()}


def unknown(parameters: Vectors) -> Tensor:
    """A number that a step does not compute: NaN, on the device."""
    return torch.full((), math.nan, dtype=torch.float64, device=parameters[0].device)


def unmoved(loss: Tensor, known: bool = True) -> Last:
    """The numbers of a step with ε* = 0. known: whether the loss was computed; one that was not is taken for finite."""
    zero = torch.zeros((), dtype=torch.float64, device=loss.device)
    finite = torch.isfinite(loss) if known else torch.ones_like(loss, dtype=torch.bool)
    return Last(loss, zero * torch.nan, zero, finite, zero > 0, {})


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
