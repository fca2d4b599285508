"""How a law compares: every function here raises an AssertionError with the numbers, and NaN never passes."""

from __future__ import annotations

from torch import Tensor

from ..core import Vectors

Number = Tensor | float


def equal(what: str, got: Number, want: Number, tolerance: float) -> None:
    """|got − want| ≤ tolerance · |want|."""
    error = abs(float(got) - float(want))
    within(f"{what}: {float(got):.9g} should be {float(want):.9g}; relative error", error, abs(float(want)), tolerance)


def within(what: str, error: Number, scale: Number, tolerance: float) -> None:
    """error ≤ tolerance · scale."""
    if not float(error) <= tolerance * float(scale):
        share = float(error) / float(scale) if float(scale) else float(error)
        raise AssertionError(f"{what} {share:.3g} exceeds {tolerance:.3g}")


def at_most(what: str, got: Number, bound: Number, slack: Number) -> None:
    """got ≤ bound + slack."""
    if not float(got) <= float(bound) + float(slack):
        excess = float(got) - float(bound)
        raise AssertionError(
            f"{what}: {float(got):.9g} exceeds {float(bound):.9g} by {excess:.3g} (allowed {float(slack):.3g})"
        )


def identical(what: str, u: Vectors, v: Vectors) -> None:
    """The same tensors bit for bit, NaN included, with the same types and shapes."""
    if len(u) != len(v):
        raise AssertionError(f"{what}: {len(u)} tensors against {len(v)}")
    for i, (a, b) in enumerate(zip(u, v, strict=True)):
        kinds = [(tuple(t.shape), t.dtype, t.device) for t in (a, b)]
        if kinds[0] != kinds[1]:
            raise AssertionError(f"{what}: tensor {i} is {kinds[0]}, not {kinds[1]}")
        same = (a == b) | ((a != a) & (b != b))
        if not same.all():
            count, first = int((~same).sum()), int((~same).flatten().nonzero()[0, 0])
            where = f"tensor {i} differs in {count} of {same.numel()} entries"
            entries = f"{a.flatten()[first].item()} against {b.flatten()[first].item()}"
            raise AssertionError(f"{what}: {where}, {'first ' if count > 1 else ''}{entries}")


def holds(what: str, condition: Tensor | bool) -> None:
    """The condition is true."""
    if not bool(condition):
        raise AssertionError(what)
