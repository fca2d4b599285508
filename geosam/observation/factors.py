"""Kronecker factors of the Fisher information."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from ..engines.kfac import KFAC
from ..norms import Factors
from ..problem import Bound
from .distribution import LACKING, check_likelihood
from .request import Look, Request


@dataclass(frozen=True)
class KroneckerFactors(Request[Factors]):
    """One block B ⊗ A per layer, from ``kfac``."""

    kfac: KFAC
    lacking: ClassVar[str] = LACKING

    def check(self, bound: Bound, who: str) -> None:
        """TypeError where the loss has no known likelihood."""
        check_likelihood(bound, who)

    @property
    def single(self) -> bool:
        """True."""
        return True

    def looking(self) -> AbstractContextManager[None]:
        """As ``kfac.looking``."""
        return self.kfac.looking()

    def take(self, look: Look) -> Factors:
        """Computed with the random numbers of the pass."""
        return self.kfac.factors(look.apart, look.parameters, look.replay)

    def restrict(self, value: Factors, index: Sequence[int]) -> Factors:
        """The blocks of some of the parameters."""
        return value.restrict(index)
