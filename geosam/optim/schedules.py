"""Schedules of the radius: ``SAM(base, rho=WarmUp(0.05, 200))``, or as a group's own ``rho``."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..core import Public, check_radius

__all__ = ["Constant", "Cosine", "FollowLR", "Linear", "Schedule", "WarmUp"]


class Schedule(Public, ABC):
    """ρ by the number of steps taken, which checkpoints hold. Frozen configuration; costs nothing on a device.

    A captured step follows it, as it follows any change of ρ.
    """

    @abstractmethod
    def radius(self, step: int, group: Mapping[str, Any]) -> float:
        """ρ of a group of the base optimizer in this step, the first being 0."""


def check_steps(steps: int) -> None:
    """Raises: ValueError unless it is a whole number ≥ 1."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number ≥ 1, got {steps!r}")


class _Between(Schedule):
    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.name == "steps":
                check_steps(value)
            else:
                check_radius(value, field.name)


@dataclass(frozen=True)
class Constant(_Between):
    """ρ."""

    rho: float

    def radius(self, step: int, group: Mapping[str, Any]) -> float:
        """ρ."""
        return self.rho


@dataclass(frozen=True)
class Linear(_Between):
    """From start to end in so many steps, on a straight line; end from then on."""

    start: float
    end: float
    steps: int

    def radius(self, step: int, group: Mapping[str, Any]) -> float:
        """start + (end − start) min(1, t/steps)."""
        return self.start + (self.end - self.start) * min(1.0, step / self.steps)


@dataclass(frozen=True)
class Cosine(_Between):
    """From start to end in so many steps, on half a cosine; end from then on. Source: Loshchilov & Hutter 2017, eq. 5."""

    start: float
    end: float
    steps: int

    def radius(self, step: int, group: Mapping[str, Any]) -> float:
        """end + (start − end)(1 + cos(π min(1, t/steps)))/2."""
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * min(1.0, step / self.steps))) / 2


@dataclass(frozen=True)
class WarmUp(_Between):
    """ρ min(1, (t + 1)/steps): what a KL budget needs where KL is flat, as at random initialisation (docs/decisions/0037)."""

    rho: float
    steps: int

    def radius(self, step: int, group: Mapping[str, Any]) -> float:
        """ρ min(1, (t + 1)/steps)."""
        return self.rho * min(1.0, (step + 1) / self.steps)


@dataclass(frozen=True)
class FollowLR(_Between):
    """ρ as a linear function of the group's learning rate: rho at lr, least at lr_least.

    With the defaults ρ is proportional to the learning rate. Source: Zhuang et al. 2022, section 4.3 (GSAM's ρ_t).
    """

    rho: float
    lr: float
    least: float = 0.0
    lr_least: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lr > self.lr_least:
            raise ValueError(f"lr must be larger than lr_least, got {self.lr} and {self.lr_least}")

    def radius(self, step: int, group: Mapping[str, Any]) -> float:
        """least + (rho − least)(lr_t − lr_least)/(lr − lr_least), not below 0."""
        share = (float(group["lr"]) - self.lr_least) / (self.lr - self.lr_least)
        return max(0.0, self.least + (self.rho - self.least) * share)


def check_rho(rho: Any) -> Any:
    """A schedule as it is, else as :func:`geosam.core.check_radius`."""
    if isinstance(rho, Schedule):
        return rho
    try:
        return check_radius(rho)
    except TypeError as error:
        raise TypeError(
            f"{error}. One that changes is a schedule, such as geosam.schedules.WarmUp(0.05, 200); one that meets a match is "
            "geosam.calibrate(problem.on(x, y), metric, geosam.KL(0.01))"
        ) from None
