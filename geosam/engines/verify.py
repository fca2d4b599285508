"""The check of the rows: a weighted sum of them must be the gradient of the same sum of losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import torch

from ..core import Vectors
from ..core.limits import agreement
from ..core.undo import Attempt
from ..problem import Bound
from ..problem.randomness import Replay
from ..problem.reading import leaves
from .abstract import Engine
from .schedule import Record, chance
from .still import Still
from .weighted import Weighted, gap, shown
from .widened import in_float64

Sums = Callable[[Engine, Bound, Vectors, Weighted], None]
"""Adds to a ``Weighted`` what an engine gives for a problem: what is verified."""

# What precision may take from a sum of rows that are right in float64, relative to it.
_LOSS, _LOSS_IN_16_BITS = 0.05, 0.2


class Comparison(NamedTuple):
    """gap: relative, NaN where a gradient is not finite or all are zero. settled: whether none of them is zero."""

    rows: Weighted
    gap: float
    tolerance: float
    settled: bool


class Verified:
    """One engine on one batch. engine: the one to use, which is another than was asked for where that one's rows are wrong."""

    def __init__(self, asked: Engine, bound: Bound, parameters: Vectors, replay: Replay) -> None:
        self.bound, self.parameters, self.replay = bound, parameters, replay
        self.record = Record.of(asked, bound, parameters)
        self.whole = bound.whole(parameters)
        self.engine = (asked.instead() if self.record.replaced or self.whole else None) or asked
        self._weights: Weighted | None = None

    @cached_property
    def _due(self) -> bool:
        return self.whole or self.record.due(self.bound)

    def weights(self, doubtful: bool) -> Weighted | None:
        """What the rows are to be added to, if this batch is due or ``doubtful``; else None."""
        if self._weights is None and (self._due or doubtful):
            self._weights = self._fresh()
        return self._weights

    def _fresh(self) -> Weighted:
        return Weighted(self.bound.n, chance(self.bound), self.parameters[0], self.whole)

    def settle(self, sums: Sums, random: bool) -> bool:
        """Whether the rows can be used; if not, the engine is replaced from now on, and the evaluation is to be repeated.

        sums: as done already for ``weights``. random: whether the pass used random numbers: then rows and gradient are computed
        again without them. Raises: ValueError where no engine is right.
        """
        fault = self._fault(sums, random)
        if fault is None:
            return True
        if self.hand_over():
            return False
        self.record.replace(False)  # the problem is refused, not the engine
        raise ValueError(fault)

    def hand_over(self) -> bool:
        """Replace the engine on this structure from now on; False if no other would do otherwise."""
        if self.engine.instead() is None or self.record.replaced:
            return False
        self.record.replace(True)
        return True

    def _fault(self, sums: Sums, random: bool) -> str | None:
        """What is wrong: first in the pass's own precision, then, where that leaves a doubt, in float32 and in float64."""
        done = None if random or self._weights is None or not self._weights.done else self._weights
        narrow, rows, doubt = _narrow(self.parameters), done, 0.0
        if not narrow:
            if done is not None and self._passed(self._plain(done)):
                return None
            found = self._still(sums, done)  # without TF32
            if self._passed(found):
                return None
            rows, doubt = found.rows, found.gap
        attempt = Attempt()
        try:
            found = self._in_float64(sums, rows)
        except Exception as error:  # a model that cannot be copied, or that makes float32 tensors of its own
            attempt.refused(error)
            found = self._still(sums, rows)
        if found.gap > found.tolerance:
            return self._meeting(found.gap)
        if rows is not None and rows.data is not None and found.rows.data is not None and not math.isnan(found.gap):
            lost = gap(rows.data, found.rows.data, floor=0.1)
            if lost > (_LOSS_IN_16_BITS if narrow else _LOSS):
                return _rounded(lost, self.parameters)
        if doubt > _LOSS:  # the rows are float64's, so that the gradient is not: a hook that no copy has
            return self._meeting(doubt)
        self._passed(found)
        return None

    def _passed(self, found: Comparison) -> bool:
        """Whether nothing is wrong; counted where something was shown."""
        if found.gap > found.tolerance:
            return False
        if not math.isnan(found.gap):
            self.record.passes(found.settled)
        return True

    def _plain(self, done: Weighted) -> Comparison:
        """With the rows of the pass itself."""
        with torch.enable_grad(), self.replay:
            return _compared(done, self.bound, self.parameters, agreement(self.parameters[0].dtype))

    def _still(self, sums: Sums, done: Weighted | None) -> Comparison:
        """With rows computed again without randomness."""
        rows = self._fresh() if done is None else done.again()
        with torch.enable_grad(), Still() as still:
            with self.replay:
                sums(self.engine, self.bound, self.parameters, rows)
            with self.replay:  # numbers that are not torch's are no constants: both passes draw the same
                return _compared(rows, self.bound, self.parameters, still.tolerance)

    def _in_float64(self, sums: Sums, done: Weighted | None) -> Comparison:
        """The same on a copy of the problem in float64, where neither TF32 nor autocast rounds anything."""
        wide = in_float64(self.bound, self.parameters)
        there = Verified(self.engine, wide, wide.parameters, self.replay)
        with torch.autocast(self.parameters[0].device.type, enabled=False):
            return there._still(sums, self._fresh() if done is None else done)

    def _reads_parameters(self) -> bool:
        if self.bound.sample.known:
            return False
        with torch.enable_grad(), self.replay:
            outputs = self.bound.pure(self.parameters)(self.parameters, self.bound.x)
            read = leaves(self.bound.quiet_loss(outputs), outputs)
        return any(leaf is p for leaf in read for p in self.parameters)

    def _meeting(self, wrong: float) -> str:
        """That the rows of single samples are not all that the gradient is made of, and why, as far as can be seen."""
        if any(p._backward_hooks or p._post_accumulate_grad_hooks for p in self.parameters):
            why = "a hook on a parameter changes its gradient, which per-sample gradients do not see"
        elif self.whole:
            why = (
                "the loss that the model computes is no mean over samples, as where it averages over tokens that samples have "
                "unlike numbers of; the model may return its outputs, and Problem(model, loss) take the loss"
            )
        elif self._reads_parameters():
            why = (
                "the loss reads parameters itself (a penalty, another pass of the model), and that part is no sample's; a "
                "penalty may go to the base optimizer as weight_decay"
            )
        else:
            why = "the model or the loss lets samples meet, or their dimension is not the first"
        text = (
            f"the per-sample gradients do not add up to the gradient of the batch (relative gap {wrong:.2g}): {why}. Such a "
            "problem has no per-sample gradients; use a metric that needs none: GradientMagnitude, Fisher, "
            "KLExact(along=GradientMagnitude())."
        )
        if self.record.passed:
            text += (
                f" On earlier batches they did ({self.record.passed} were verified): whether they meet depends on the batch, "
                "as where experts have a capacity. Problem(..., check='always') verifies every batch."
            )
        return text


def _compared(rows: Weighted, bound: Bound, parameters: Vectors, tolerance: float) -> Comparison:
    wanted = rows.true(bound, parameters)
    seen = shown(wanted)
    return Comparison(rows, gap(rows.found, wanted) if any(seen) else math.nan, tolerance, all(seen))


def _rounded(lost: float, parameters: Vectors) -> str:
    kind = str(parameters[0].dtype).removeprefix("torch.")
    autocast = " under autocast" if torch.is_autocast_enabled(parameters[0].device.type) else ""
    return (
        f"the per-sample gradients differ by {lost:.2g} of their size from those in float64: they leave the range of their "
        f"precision, or are rounded too coarsely (parameters in {kind}{autocast}). Keep the parameters in float32, with "
        "autocast to bfloat16 or none."
    )


def _narrow(parameters: Vectors) -> bool:
    """Whether 16 bits may have taken part."""
    return torch.is_autocast_enabled(parameters[0].device.type) or any(p.dtype.itemsize < 4 for p in parameters)
