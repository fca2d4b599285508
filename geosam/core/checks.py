"""Argument checks that every room uses."""

from __future__ import annotations

import math
from typing import Any

from .brief import brief


def check_instance(name: str, value: Any, kind: type) -> None:
    """TypeError unless value is an instance of kind; a class, a name or a number in its place are common mistakes.

    ``kind.example``, if there is one, is how such an object is written.
    """
    if isinstance(value, kind):
        return
    if isinstance(value, type) and issubclass(value, kind):
        raise TypeError(f"{name} must be an instance of {kind.__name__}, and is a class: pass {value.__name__}()")
    example = f", such as {kind.example}" if hasattr(kind, "example") else ""
    raise TypeError(f"{name} must be an instance of {kind.__name__}{example}; got {brief(value)}")


def check_radius(rho: Any, name: str = "rho") -> float:
    """A radius as a float, also from a 0-dimensional tensor or array, which is read on the host.

    Raises: TypeError or ValueError unless it is a finite number ≥ 0.
    """
    if getattr(rho, "ndim", None) == 0:
        rho = rho.item()
    if isinstance(rho, bool) or not isinstance(rho, int | float):
        raise TypeError(f"{name} must be a number, got {rho!r}")
    if not (math.isfinite(rho) and rho >= 0):
        cure = "; rho = 0 is the base optimizer's own step" if name == "rho" else ""
        raise ValueError(f"{name} must be finite and not negative, got {rho}{cure}")
    return float(rho)
