"""Labels sampled from the model's predictions: rows of their scores, or products that replace the rows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from ..core import Vectors
from ..core.undo import Attempt
from ..engines import Choice, Engine
from ..problem import Bound
from ..problem.gradient import raise_own
from ..sampling import Sampling
from .distribution import LACKING, PredictiveDistribution, check_likelihood
from .drawing import Drawing
from .request import Lead, Look, Request, TakeAgain
from .rows import mean_gradient
from .sampled import Sampled


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

    @property
    def single(self) -> bool:
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
        here = self._on(look.apart, look.parameters)
        if self._refusal(look.apart, look.bound, look.parameters) is not None or not here.whole():
            return None
        attempt = Attempt()
        try:
            captured, outputs, look.found[self] = here.capture(look.replay)
        except TakeAgain:
            raise
        except Exception as error:
            attempt.refused(error)
            if self.limit is None or look.apart is not look.bound:
                raise  # nothing can replace these rows
            raise_own(look.bound, look.parameters)
            here.remember(error)
            raise TakeAgain from error
        look.rows[self.engine], look.leader = captured.rows, self.engine
        gradient = mean_gradient(captured.rows, look.apart.n, captured.losses)
        return Lead(captured.losses.detach().mean(), gradient, outputs)

    def take(self, look: Look) -> Sampled:
        """By rows, by chunks of samples, or by products."""
        why = self._refusal(look.apart, look.bound, look.parameters)
        if why is not None:
            return self._on(look.bound, look.parameters).products(why, look[PredictiveDistribution()], look.replay)
        here, attempt = self._on(look.apart, look.parameters), Attempt()
        try:
            whole = here.whole()
            compute = (lambda: here.capture(look.replay)[2]) if whole else (lambda: here.in_chunks(look.replay))
            return look.again(self.engine, compute, whole)
        except TakeAgain:
            raise
        except Exception as error:
            attempt.refused(error)
            if self.limit is None or look.apart is not look.bound:
                raise
            raise_own(look.bound, look.parameters)
            here.remember(error)
            return self.take(look)

    def restrict(self, value: Sampled, index: Sequence[int]) -> Sampled:
        """The same labels, for some of the parameters."""
        return value.restrict(index)

    def explain(self, apart: Bound, bound: Bound, parameters: Vectors) -> Sequence[Choice] | str:
        """The engine's plan, or why products replace rows."""
        why = self._refusal(apart, bound, parameters)
        return self._on(apart, parameters).explained() if why is None else why

    def _on(self, bound: Bound, parameters: Vectors) -> Drawing:
        return Drawing(self.sampling, self.engine, self.limit, self.scale, bound, parameters)

    def _refusal(self, apart: Bound, bound: Bound, parameters: Vectors) -> str | None:
        """Why no rows are formed, or None. ValueError where only the twin has per-sample rows and they are refused."""
        if apart is bound or self._in_products:
            return self._on(bound, parameters).refusal()  # exact products need no rows and stay in training mode
        why = self._on(apart, parameters).refusal()
        if why is not None:
            raise ValueError(
                "labels are drawn for each sample alone, which with BatchNorm in training mode takes rows, and there are none: "
                f"{why}. Raise rows_limit, use a smaller batch, or use sampling=metrics.Exact()."
            )
        return None
