"""Labels sampled from the model's predictions: rows of their scores, or products that replace the rows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ..core import Vectors, limits
from ..core import vectors as vec
from ..engines import Captured, Choice, Engine
from ..engines.verify import verify
from ..predictive import Predictive
from ..problem import Bound
from ..rows import Rows
from ..sampling import Sampling
from .distribution import LACKING, PredictiveDistribution, check_likelihood
from .request import Lead, Look, Request, TakeAgain
from .rows import mean_gradient


@dataclass(frozen=True, eq=False)
class Sampled:
    """The value of :class:`LabelDraws`. how: a description, for reports.

    rows: of the K·n cotangents. squares: their mean squares. coordinates: (α [K, n], spanned [n]) with
    Jᵢᵀ∂ℓᵢ/∂zᵢ = Σ_k α_kᵢ row_kᵢ for the samples that are spanned. cotangents: u, [K, n, ...], where products replace rows;
    mean_diagonal: then tr(F)/P, if requested and computed from rows.
    """

    how: str
    rows: Rows | None = None
    squares: Vectors | None = None
    coordinates: tuple[Tensor, Tensor] | None = None
    cotangents: Tensor | None = None
    mean_diagonal: Tensor | None = None

    def restrict(self, index: Sequence[int]) -> Sampled:
        """The same labels, for some of the parameters."""
        rows = None if self.rows is None else self.rows.restrict(index)
        squares = None if self.squares is None else [self.squares[i] for i in index]
        return replace(self, rows=rows, squares=squares, mean_diagonal=None)


@dataclass(frozen=True)
class LabelDraws(Request[Sampled]):
    """The K·n rows of ``sampling``'s cotangents, from ``engine``.

    limit: the largest K·n; above it, or where rows would take more than 512 MiB, products with the Fisher information replace
    them. None: only mean squares, summed over chunks of samples of 256 MiB. scale: whether tr(F) is wanted without rows.
    """

    sampling: Sampling
    engine: Engine
    limit: int | None = None
    scale: bool = False
    lacking: ClassVar[str] = LACKING

    def check(self, bound: Bound, who: str) -> None:
        """TypeError where the loss has no known likelihood."""
        check_likelihood(bound, who)

    def single(self, bound: Bound) -> bool:
        """True unless products can replace rows."""
        return not self._in_products

    @property
    def _in_products(self) -> bool:
        """Whether products with the Fisher matrix can replace per-sample quantities."""
        return self.limit is not None and not self.sampling.random

    def looking(self) -> AbstractContextManager[None]:
        """As ``sampling.looking``."""
        return self.sampling.looking()

    def lead(self, look: Look) -> Lead | None:
        """Loss and gradient by the loss's rows, from the pass that captures those of the labels, if one pass gives both."""
        apart, parameters = look.apart, look.parameters
        if self._refused(look) is not None or not self.whole(apart, parameters):
            return None
        try:
            captured, outputs, look.found[self] = self.capture(apart, parameters)
            look.rows[self.engine] = captured.rows
            gradient = mean_gradient(captured.rows, apart.n, captured.losses)
            verify(apart, parameters, self.engine, gradient, look.replay)
        except (ValueError, RuntimeError) as error:
            if self.limit is None or apart is not look.bound:
                raise  # nothing can replace these rows
            self.remember(look.bound, error)
            raise TakeAgain from error
        return Lead(captured.losses.detach().mean(), gradient, outputs)

    def take(self, look: Look) -> Sampled:
        """By rows, by chunks of samples, or by products."""
        why = self._refused(look)
        if why is not None:
            return self.products(why, look[PredictiveDistribution()], look.bound, look.parameters)
        with nullcontext() if self.sampling.random else look.replay:
            if self.whole(look.apart, look.parameters):
                return self.capture(look.apart, look.parameters)[2]
            return self.in_chunks(look.apart, look.parameters)

    def restrict(self, value: Sampled, index: Sequence[int]) -> Sampled:
        """The same labels, for some of the parameters."""
        return value.restrict(index)

    def explain(self, apart: Bound, bound: Bound, parameters: Vectors) -> Sequence[Choice] | str:
        """The engine's plan, or why products replace rows."""
        why = self._refusal(apart, bound, parameters)
        return self.engine.explain(apart, parameters) if why is None else why

    def _refused(self, look: Look) -> str | None:
        return self._refusal(look.apart, look.bound, look.parameters)

    def _refusal(self, apart: Bound, bound: Bound, parameters: Vectors) -> str | None:
        """Why no rows are formed, or None. ValueError where only the twin has per-sample rows and they are refused."""
        if apart is bound or self._in_products:
            return self.refusal(bound, parameters)  # exact products need no rows and stay in training mode
        why = self.refusal(apart, parameters)
        if why is not None:
            raise ValueError(
                "labels are drawn for each sample alone, which with BatchNorm in training mode takes rows, and there are none: "
                f"{why}. Raise rows_limit, use a smaller batch, or use sampling=metrics.Exact()."
            )
        return None

    def refusal(self, bound: Bound, parameters: Vectors) -> str | None:
        """Why no rows are formed, or None."""
        if self.limit is None:
            return None
        seen = bound.structure(parameters)
        count = self.sampling.count(seen.entries) * bound.n
        if seen.coupled and self.sampling.random:
            raise ValueError(
                "labels are drawn for each sample alone, and here samples meet: a normalisation uses the batch's own "
                "statistics. Use sampling=metrics.Exact(), Problem(..., frozen_statistics=True), or put it in eval mode."
            )
        if seen.coupled:
            return "samples meet in a normalisation"
        if seen.random:
            return "the forward pass draws random numbers"
        if count > self.limit:
            return f"{count} rows exceed the limit of {self.limit}"
        if count * self._row_bytes(bound, parameters, count) > limits.ROWS:
            return f"{count} rows would take more than 512 MiB"
        return bound.memory.get(self._failed(bound))

    def remember(self, bound: Bound, error: Exception) -> None:
        """Record that rows failed: products are used from now on."""
        bound.memory[self._failed(bound)] = f"{type(self.engine).__name__} gives no rows: {error}"

    def _failed(self, bound: Bound) -> Any:
        return "no rows", self, tuple(m.training for m in bound.model.modules())

    def _row_bytes(self, bound: Bound, parameters: Vectors, count: int) -> int:
        """Bytes that the engine holds per row: measured on two samples where full rows would not fit."""
        most = sum(p.numel() * p.element_size() for p in parameters)
        if count * most <= limits.CHUNK:
            return most

        def tried() -> int:
            drawn = self._captured(_part(bound, 0, 2), parameters)[0].drawn
            return 0 if drawn is None else drawn.held // drawn.n

        shapes = tuple(tuple(t.shape) for t in parameters)
        try:
            return bound.remembered(("bytes a row", self.engine, shapes), tried)
        except (ValueError, RuntimeError):  # raised again where rows are computed
            return most

    def capture(self, bound: Bound, parameters: Vectors) -> tuple[Captured, Tensor, Sampled]:
        """The per-sample losses and their rows, the outputs, and the label draws, from one pass."""
        captured, outputs, cotangents = self._captured(bound, parameters)
        drawn = captured.drawn
        assert drawn is not None and bound.likelihood is not None
        how = f"Gram matrix of {drawn.n} rows"
        if self.limit is None:
            return captured, outputs, Sampled(f"mean squares of {drawn.n} rows", squares=drawn.mean_squares())
        alpha = self.sampling.coordinates(bound.likelihood, outputs, cotangents, bound.sample.slopes(outputs, bound.y))
        return captured, outputs, Sampled(how, rows=drawn, coordinates=alpha)

    def products(self, why: str, predictive: Predictive, bound: Bound, parameters: Vectors) -> Sampled:
        """In place of rows: the sampled cotangents; none where the products are exact."""
        how = f"conjugate gradients: {why}"
        if self.sampling.random:
            return Sampled(how, cotangents=self.sampling.cotangents(predictive.likelihood, predictive.outputs))
        seen = bound.structure(parameters)
        alone = self.scale and not (seen.coupled or seen.random or self._failed(bound) in bound.memory)
        return Sampled(how, mean_diagonal=self._mean_diagonal(bound, parameters) if alone else None)

    def _mean_diagonal(self, bound: Bound, parameters: Vectors) -> Tensor | None:
        """From mean squares of rows, which linear layers give without forming them; None where the engine has no rows."""
        try:
            squares = self.in_chunks(bound, parameters).squares
        except (ValueError, RuntimeError):
            return None
        assert squares is not None, "in_chunks() gives squares"
        return torch.stack([s.double().sum() for s in squares]).sum() / vec.count(squares)

    def whole(self, bound: Bound, parameters: Vectors) -> bool:
        """Whether one pass also gives the loss's rows."""
        return self.limit is not None or self._width(bound, parameters) >= bound.n

    def in_chunks(self, bound: Bound, parameters: Vectors) -> Sampled:
        """Mean squares, chunk by chunk."""
        verify(bound, parameters, self.engine)
        width, total, count = self._width(bound, parameters), None, 0
        for start in range(0, bound.n, width):
            drawn = self._captured(_part(bound, start, start + width), parameters)[0].drawn
            assert drawn is not None
            sums = vec.scale(drawn.mean_squares(), drawn.n)
            total, count = sums if total is None else vec.add(total, sums), count + drawn.n
        assert total is not None
        return Sampled(f"mean squares of {count} rows, {width} samples at a time", squares=vec.scale(total, 1 / count))

    def _width(self, bound: Bound, parameters: Vectors) -> int:
        rows = self.sampling.count(bound.structure(parameters).entries)
        held = self._row_bytes(bound, parameters, rows * bound.n)
        return min(bound.n, max(1, limits.CHUNK // max(1, rows * held)))

    def _captured(self, bound: Bound, parameters: Vectors) -> tuple[Captured, Tensor, Tensor]:
        seen: list[Tensor] = []

        def draw(outputs: Tensor) -> Tensor:
            assert bound.likelihood is not None
            seen[:] = [outputs.detach(), self.sampling.cotangents(bound.likelihood, outputs)]
            return seen[1]

        captured = self.engine.capture(bound, parameters, draw)
        return captured, seen[0], seen[1]


def _part(bound: Bound, start: int, stop: int) -> Bound:
    x, y = tree_map(lambda t: t[start:stop] if isinstance(t, Tensor) else t, (bound.x, bound.y))
    return replace(bound, x=x, y=y, n=min(stop, bound.n) - start)
