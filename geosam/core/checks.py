"""Argument checks that every room uses."""

from __future__ import annotations

import math
from numbers import Real
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


def check_number(name: str, value: Any, told: str = "", *, positive: bool = False) -> None:
    """Raises: TypeError unless value is a number, ValueError, which ends as told, unless it is finite and ≥ 0 or > 0."""
    _check_type(name, value)
    if not (math.isfinite(value) and (value > 0 if positive else value >= 0)):
        raise ValueError(f"{name} must be finite and {'positive' if positive else 'not negative'}, got {value}{told}")


def check_decay(decay: Any, told: str = "", *, zero: bool = True) -> None:
    """Raises: TypeError unless decay is a number, ValueError, which ends as told, unless it lies in [0, 1), or (0, 1)."""
    _check_type("decay", decay)
    if not (0 <= decay < 1 and (zero or decay > 0)):
        raise ValueError(f"decay must lie in {'[' if zero else '('}0, 1), got {decay}{told}")


def check_callable(name: str, value: Any, what: str) -> None:
    """Raises: TypeError unless value can be called; what: how such a function is written."""
    if not callable(value):
        raise TypeError(f"{name} is a function, such as {what}; got {brief(value)}")


def check_radius(rho: Any, name: str = "rho") -> float:
    """A radius as a float, also from a 0-dimensional tensor or array, which is read on the host.

    Raises: TypeError or ValueError unless it is a finite number ≥ 0.
    """
    if getattr(rho, "ndim", None) == 0:
        rho = rho.item()
    _check_type(name, rho)
    if not (math.isfinite(rho) and rho >= 0):
        cure = "; rho = 0 is the base optimizer's own step" if name == "rho" else ""
        raise ValueError(f"{name} must be finite and not negative, got {rho}{cure}")
    return float(rho)


def _check_type(name: str, value: Any) -> None:
    if isinstance(value, bool) or not (isinstance(value, Real) or getattr(value, "ndim", None) == 0):
        raise TypeError(f"{name} must be a number, got {brief(value)}")
