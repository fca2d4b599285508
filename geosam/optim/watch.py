"""A warning where ε is extreme beside θ, or nothing is trained."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec
from .last import Last

EXTREME, UNREALISED, STREAK = 0.3, 0.05, 10


class LongPerturbation(RuntimeWarning):
    """‖ε‖ is extreme beside ‖θ‖."""


class Unrealised(RuntimeWarning):
    """ε* was rounded away in the parameters' own precision."""


class Standstill(RuntimeWarning):
    """Ten updates in a row were withheld."""


class Unperturbed(RuntimeWarning):
    """Ten steps in a row had no ε*, and were the base optimizer's own."""


class Streak:
    """What happens ten times in a row, told once."""

    def __init__(self) -> None:
        self.length, self.told = 0, False

    def reached(self, happened: bool) -> bool:
        """Whether this is the tenth in a row, for the first time."""
        self.length = self.length + 1 if happened else 0
        first = self.length == STREAK and not self.told
        self.told |= first
        return first


class Watch:
    """Warns once where ‖ε*‖₂ is above 0.3 in units of :func:`average_size`.

    The unit is computed in steps 1, 2, 4, 8, … only: it costs a pass over the parameters. KL is flat mostly at the start.
    """

    def __init__(self) -> None:
        self.steps, self.warned = 0, False
        self.rounded, self.warned_rounding = 0, False
        self.withheld, self.unperturbed = Streak(), Streak()

    def unit(self, parameters: Vectors) -> Tensor | None:
        """The unit of a step in which it is due."""
        self.steps += 1
        return None if self.warned or self.steps & (self.steps - 1) else average_size(parameters)

    def check_rounding(self, last: Last) -> None:
        """Of a step whose parameters are below float32. Warns at most once; reads a number in steps 1, 2, 4, 8, … only."""
        self.rounded += 1
        captured = last.loss.is_cuda and torch.cuda.is_current_stream_capturing()
        due = not (self.warned_rounding or captured or self.rounded & (self.rounded - 1))
        if due and last.realised < UNREALISED * last.length:
            self.warned_rounding = True
            warnings.warn(
                f"ε* is {float(last.length):.2g} long, and {float(last.realised):.2g} of it was realised: the rest is "
                "below the spacing of the parameters' precision, and steps are the base optimizer's own. Keep parameters in "
                "float32 and compute under torch.autocast, or raise rho. Shown once.",
                Unrealised,
                stacklevel=2,
            )

    def check_finite(self, last: Last) -> None:
        """Of a step, on the host. Each kind warns at most once, at the tenth in a row."""
        withheld = bool(last.skipped)
        if self.withheld.reached(withheld):
            warnings.warn(
                f"{STREAK} updates in a row were withheld, because the second pass's gradient is not finite: nothing is "
                "trained. Look for NaN in inputs and targets, or lower the learning rate; raise_nonfinite=True stops at the "
                "first. Shown once.",
                Standstill,
                stacklevel=2,
            )
        if self.unperturbed.reached(not withheld and not last.finite):
            warnings.warn(
                f"{STREAK} steps in a row had no ε*: the first pass's loss or gradient, or what the metric made of them, is "
                "not finite (a metric must be positive), and the base optimizer trains alone. Look at opt.last; "
                "raise_nonfinite=True stops at the first. Shown once.",
                Unperturbed,
                stacklevel=2,
            )

    def check_length(self, size: float | None) -> None:
        """Of a step's ``beside``. Warns at most once."""
        if size is not None and size > EXTREME and not self.warned:
            self.warned = True
            warnings.warn(
                f"ε* is {size:.2g} of the weights' average singular values in length, above {EXTREME}: KL is flat here, as it "
                "is at random initialisation, and the budget lets ε* go so far that training may not start. Warm the radius up "
                "(opt.rho = rho * min(1, (step + 1) / 200)), or limit the length by KLExact(cap=...). Shown once.",
                LongPerturbation,
                stacklevel=2,
            )


def average_size(parameters: Vectors) -> Tensor:
    """√(Σ over tensors of ‖W‖²/r), r the shorter side of the matrix [out, rest], or the length of a vector: the mean square of
    the singular values that each tensor can have, as a matrix or as a diagonal one. ε has few, for gradients have.
    """
    sides = [min(p.shape[0], p.numel() // p.shape[0]) if p.dim() > 1 and p.numel() else max(p.numel(), 1) for p in parameters]
    sizes = [n.to(parameters[0].device, torch.float64) for n in vec.norms([p.detach() for p in parameters])]
    return (torch.stack(sizes).square() / torch.tensor(sides, dtype=torch.float64, device=sizes[0].device)).sum().sqrt()
