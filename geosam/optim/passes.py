"""Which passes a step takes: both, or fewer for less money."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..core import Public
from .schedules import check_steps

__all__ = ["Both", "Every", "Kind", "Late", "Momentum", "Passes"]

Kind = Literal["both", "plain", "again", "momentum"]
"""Both passes; the base optimizer's own step; ε* of the last first pass again; ε* from the base optimizer's momentum."""


class Passes(Public, ABC):
    """What is done in a step, by the number of steps taken, which checkpoints hold. Frozen configuration."""

    example: ClassVar[str] = "geosam.passes.Every(2)"

    @property
    def reuses(self) -> bool:
        """Whether ε* is kept for later steps: one more set of parameters in memory."""
        return False

    @abstractmethod
    def kind(self, step: int) -> Kind:
        """What step number ``step`` does, the first being 0."""


@dataclass(frozen=True)
class Both(Passes):
    """Two passes in every step, SAM's own. Costs 2 forward and backward passes a step. Source: Foret et al. 2021."""

    def kind(self, step: int) -> Kind:
        """both."""
        return "both"


@dataclass(frozen=True)
class Every(Passes):
    """Both passes in every k-th step, the first among them. Between them plain steps, or the last ε* again.

    Costs 1 + 1/k forward and backward passes a step. again: ε* = that of the last first pass, at parameters that have moved
    since; its norm is then that of its own step. Source: Liu et al. 2022 (LookSAM), which reuses a part of the gradient
    instead. Raises: ValueError unless k is a whole number ≥ 1.
    """

    k: int
    again: bool = False

    def __post_init__(self) -> None:
        check_steps(self.k)

    @property
    def reuses(self) -> bool:
        """True with ``again``."""
        return self.again and self.k > 1

    def kind(self, step: int) -> Kind:
        """both if k divides the step, else plain or again."""
        if step % self.k == 0:
            return "both"
        return "again" if self.again else "plain"


@dataclass(frozen=True)
class Late(Passes):
    """Plain steps before step ``start``, both passes from there on.

    Costs one pass a step less before. Source: Zhou et al. 2025 (arXiv 2410.10373): SAM in the last part of training finds
    what SAM throughout finds. Raises: ValueError unless start is a whole number ≥ 1.
    """

    start: int

    def __post_init__(self) -> None:
        check_steps(self.start)

    def kind(self, step: int) -> Kind:
        """plain before ``start``, else both."""
        return "both" if step >= self.start else "plain"


@dataclass(frozen=True)
class Momentum(Passes):
    """c = the base optimizer's momentum in place of the gradient, and no first pass: metrics of the gradient alone.

    Costs one forward and backward pass a step. The momentum is ``momentum_buffer`` (SGD, RMSprop) or ``exp_avg`` (the Adams) of
    the base's state; while a parameter has none, as in the first step, both passes are taken. The loss of a step is that at
    θ + ε*. Source: Becker et al. 2024 (MSAM), with ε* along +m, the direction in which the averaged gradient ascends.
    """

    def kind(self, step: int) -> Kind:
        """momentum."""
        return "momentum"
