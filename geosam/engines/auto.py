"""The default engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core import Vectors
from ..problem import Bound
from .abstract import Captured, Choice, Draw, Engine
from .hooks import Hooks


@dataclass(frozen=True)
class Auto(Engine):
    """``Hooks``, which chooses layer by layer: factors or rows by its cost model, and ``Func`` for what it cannot record.

    BackPACK is never chosen: on the layers that it covers the factors cost the same, without its restrictions.
    """

    def capture(self, bound: Bound, parameters: Vectors, draw: Draw | None = None) -> Captured:
        """By Hooks."""
        return Hooks().capture(bound, parameters, draw)

    def instead(self) -> Engine | None:
        """As for Hooks."""
        return Hooks().instead()

    def explain(self, bound: Bound, parameters: Vectors) -> Sequence[Choice]:
        """The choices for this batch."""
        return Hooks().explain(bound, parameters)
