"""How label draws are computed on one problem: by rows, by chunks of samples, or by products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..core import Vectors, limits
from ..core import vectors as vec
from ..core.undo import Attempt
from ..engines import Captured, Choice, Engine
from ..engines.verify import Verified
from ..predictive import Predictive
from ..problem import Bound
from ..problem.gradient import refuse_hooks
from ..problem.randomness import Replay
from ..sampling import Sampling
from .request import TakeAgain
from .sampled import Sampled
from .scores import Seen, add_checked, cotangents, scored
from .verified import handing_over, settle, trusted


@dataclass(frozen=True, eq=False)
class Drawing:
    """The draws of one request on one problem; limit and scale as in :class:`LabelDraws`."""

    sampling: Sampling
    engine: Engine
    limit: int | None
    scale: bool
    bound: Bound
    parameters: Vectors

    def refusal(self) -> str | None:
        """Why no rows are formed, or None."""
        facts = self.bound.structure(self.parameters)
        if self.limit is None and facts.view is not None:
            raise TypeError(
                "per-sample scores of labels need outputs that are one tensor, batch first, and this model gives "
                f"{type(facts.outputs).__name__}. Wrap it, or use Fisher(), which has products in their place."
            )
        if self.limit is None:
            return None
        count = self.sampling.count(facts.entries) * self.bound.n
        if facts.view is not None:
            return "the outputs are not one tensor"
        if facts.coupled and self.sampling.random:
            raise ValueError(
                "labels are drawn for each sample alone, and here samples meet: a normalisation uses the batch's own "
                "statistics. Use sampling=metrics.Exact(), Problem(..., frozen_statistics=True), or put it in eval mode."
            )
        if facts.coupled:
            return "samples meet in a normalisation"
        if facts.random:
            return "the forward pass draws random numbers"
        if count > self.limit:
            return f"{count} rows exceed the limit of {self.limit}"
        if count * self._row_bytes(count) > limits.ROWS:
            return f"{count} rows would take more than 512 MiB"
        return self.bound.memory.get(self._failed())

    def remember(self, error: Exception) -> None:
        """Record that rows failed: products are used from now on."""
        self.bound.memory[self._failed()] = f"{type(self.engine).__name__} gives no rows: {error}"

    def _failed(self) -> Any:
        return "no rows", self.sampling, self.engine, self.limit, tuple(m.training for m in self.bound.model.modules())

    def _row_bytes(self, count: int) -> int:
        """Bytes that the engine holds per row: measured on two samples where full rows would not fit."""
        most = sum(p.numel() * p.element_size() for p in self.parameters)
        if count * most <= limits.CHUNK:
            return most

        def tried() -> int:
            drawn = self._seen(self.engine, self.bound.part(0, 2), self.bound.replay()).drawn
            return drawn.held // drawn.n

        shapes, attempt = tuple(tuple(t.shape) for t in self.parameters), Attempt()
        try:
            return self.bound.remembered(("bytes a row", self.engine, shapes), tried)
        except Exception as error:  # raised again where rows are computed
            attempt.refused(error)
            return most

    def capture(self, replay: Replay) -> tuple[Captured, Tensor, Sampled]:
        """The per-sample losses and their rows, the outputs, and the label draws, from one pass with these random numbers."""
        check = self._check(replay)
        with handing_over(check):
            seen = self._seen(check.engine, self.bound, replay)
        captured, drawn = seen.captured, seen.drawn
        weighted = check.weights(captured.doubtful)
        if weighted is not None:
            weighted.add(captured.rows)
            weighted.add_drawn(drawn, seen.cotangents)
            settle(check, add_checked, seen.random)
        assert self.bound.likelihood is not None
        how = f"Gram matrix of {drawn.n} rows"
        if self.limit is None:
            return captured, seen.outputs, Sampled(f"mean squares of {drawn.n} rows", squares=drawn.mean_squares())
        slopes = self.bound.sample.slopes(seen.outputs, self.bound.y)
        alpha = self.sampling.coordinates(self.bound.likelihood, seen.outputs, seen.cotangents, slopes)
        return captured, seen.outputs, Sampled(how, rows=drawn, coordinates=alpha)

    def products(self, why: str, predictive: Predictive, replay: Replay) -> Sampled:
        """In place of rows: the sampled cotangents; none where the products are exact."""
        how = f"conjugate gradients: {why}"
        refuse_hooks(self.bound, self.parameters)
        if self.sampling.random:
            return Sampled(how, cotangents=cotangents(self.sampling, self.bound, predictive.likelihood, predictive.outputs))
        facts = self.bound.structure(self.parameters)
        alone = self.scale and not (facts.coupled or facts.random or self._failed() in self.bound.memory)
        return Sampled(how, mean_diagonal=self._mean_diagonal(replay) if alone else None)

    def _mean_diagonal(self, replay: Replay) -> Tensor | None:
        """From mean squares of rows, which linear layers give without forming them; None where the engine has no rows."""
        attempt = Attempt()
        try:
            squares = self.in_chunks(replay).squares
        except TakeAgain:
            raise
        except Exception as error:
            attempt.refused(error)
            return None
        assert squares is not None, "in_chunks() gives squares"
        return torch.stack([s.double().sum() for s in squares]).sum() / vec.count(squares)

    def whole(self) -> bool:
        """Whether one pass also gives the loss's rows."""
        return self.limit is not None or self._width() >= self.bound.n

    def in_chunks(self, replay: Replay) -> Sampled:
        """Mean squares, chunk by chunk."""
        check, width = self._check(replay), self._width()
        total, count, random, weighted = None, 0, False, check.weights(False)
        for start in range(0, self.bound.n, width):
            with handing_over(check):
                seen = self._seen(check.engine, self.bound.part(start, start + width), replay)
            if weighted is not None:
                weighted.add_drawn(seen.drawn, seen.cotangents)
            sums = vec.scale(seen.drawn.mean_squares(), seen.drawn.n)
            total, count = sums if total is None else vec.add(total, sums), count + seen.drawn.n
            random |= seen.random
        if weighted is not None:
            settle(check, partial(add_checked, width=width), random)
        assert total is not None
        return Sampled(f"mean squares of {count} rows, {width} samples at a time", squares=vec.scale(total, 1 / count))

    def explained(self) -> Sequence[Choice]:
        """The plan of the engine that is used."""
        return trusted(self.engine, self.bound, self.parameters).explain(self.bound, self.parameters)

    def _check(self, replay: Replay) -> Verified:
        return Verified(self.engine, self.bound, self.parameters, replay)

    def _width(self) -> int:
        rows = self.sampling.count(self.bound.structure(self.parameters).entries)
        held = self._row_bytes(rows * self.bound.n)
        return min(self.bound.n, max(1, limits.CHUNK // max(1, rows * held)))

    def _seen(self, engine: Engine, bound: Bound, replay: Replay) -> Seen:
        return scored(self.sampling, engine, bound, self.parameters, replay)
