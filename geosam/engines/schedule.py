"""On which batches rows are verified, and what earlier batches have shown."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from random import Random

from ..core import Vectors
from ..problem import Bound
from ..problem.modules import altered, structure

FIRST = 10
"""The batches of a structure that are all verified."""

SHARE = 0.015
"""Of the batches after these. A check takes 0.4 to 0.8 of a step, so that the mean step is 0.6 to 1.1 % dearer."""


@dataclass
class Record:
    """Of one engine, or KFAC, on one structure. replaced: whether another does its work. passed: batches whose rows were right.

    known: those since an engine was last replaced. settled: whether one of them left no gradient at zero.
    """

    replaced: bool = False
    passed: int = 0
    known: int = 0
    settled: bool = False

    def passes(self, settled: bool) -> None:
        """A batch was verified."""
        self.passed, self.known, self.settled = self.passed + 1, self.known + 1, self.settled or settled

    def replace(self, replaced: bool) -> None:
        """Nothing is known of the engine that does the work from now on."""
        self.replaced, self.known, self.settled = replaced, 0, False

    @classmethod
    def of(cls, engine: Hashable, bound: Bound, parameters: Vectors) -> Record:
        """The one kept with the problem; a batch of one shows nothing about larger ones and has its own."""
        layers = altered(bound.model) if getattr(engine, "by_layers", False) else ()
        key = ("verified", engine, bound.n == 1, *layers, *structure(bound.model, parameters))
        record: Record = bound.remembered(key, cls)
        return record

    def due(self, bound: Bound) -> bool:
        """Whether to verify this batch."""
        if bound.check == "always" or not self.known:
            return True
        if bound.check == "first":
            return not self.settled and self.known < FIRST
        return self.known < FIRST or chance(bound).random() < SHARE


def chance(bound: Bound) -> Random:
    """A stream of random numbers that belongs to the problem: checks leave the global ones as they are."""
    stream: Random = bound.remembered("chance", lambda: Random(0))
    return stream
