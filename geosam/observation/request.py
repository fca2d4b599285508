"""What can be asked of a look at θ: a kind of request is one file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec
from ..engines import Choice, Engine
from ..problem import Bound
from ..problem.randomness import Replay
from ..rows import Rows

T = TypeVar("T")


class TakeAgain(Exception):
    """Raised by a request that has remembered another way to what it asks for: the look is taken once more."""


class Lead(NamedTuple):
    """What the first capture of a pass gives to all: the batch loss, its gradient, and the outputs if they are one tensor."""

    loss: Tensor
    gradient: Vectors
    outputs: Any


class Look:
    """One look at a bound problem, as long as it lasts: what requests read, and what they share.

    bound: the problem. apart: where single samples are seen, the problem itself or a twin with frozen statistics. replay: the
    random numbers of the pass. train: whether the pass belongs to a training step. lead: of the request that came first.
    rows: of the losses, by engine. found: what was taken.
    """

    lead: Lead

    def __init__(self, bound: Bound, apart: Bound, parameters: Vectors, replay: Replay, train: bool) -> None:
        self.bound, self.apart, self.parameters, self.replay, self.train = bound, apart, parameters, replay, train
        self.rows: dict[Engine, Rows] = {}
        self.found: dict[Request[Any], Any] = {}

    def __getitem__(self, request: Request[T]) -> T:
        """What the request takes, taken once."""
        if request not in self.found:
            self.found[request] = request.take(self)
        value: T = self.found[request]
        return value

    @cached_property
    def theta(self) -> Vectors:
        """θ. In a step the parameters stay where they are until the geometry has been used; an observation that is kept
        owns its point.
        """
        return self.parameters if self.train else vec.map(lambda p: p.detach().clone(), self.parameters)


class Request(ABC, Generic[T]):
    """Asks for one thing that can be seen at θ. A frozen dataclass: equal requests are served by one value.

    Write ``lacking``, ``take`` and ``restrict``.
    """

    lacking: ClassVar[str]
    """How an error goes on after "… needs": what is missing, and the cure."""
    precedence: ClassVar[int] = 0
    """Of those that can lead a pass the lowest does; see ``lead``."""

    def check(self, bound: Bound, who: str) -> None:
        """Raises, before anything is computed, where this problem has no such thing."""

    def single(self, bound: Bound) -> bool:
        """Whether it is about single samples, so that frozen statistics concern it."""
        return False

    def looking(self) -> AbstractContextManager[None]:
        """A context for looks outside a training step, which leave no trace on a generator of the request's own."""
        return nullcontext()

    def lead(self, look: Look) -> Lead | None:
        """Loss and gradient of the pass, from the capture that serves the request as well; None where there is none."""
        return None

    @abstractmethod
    def take(self, look: Look) -> T:
        """The value, in a look whose ``lead`` is there."""

    @abstractmethod
    def restrict(self, value: T, index: Sequence[int]) -> T:
        """The value as the parameters at these positions see it."""

    def derived(self, found: Mapping[Request[Any], Any]) -> T | None:
        """The value from what an observation holds for other requests; None where that cannot be."""
        return None

    def explain(self, apart: Bound, bound: Bound, parameters: Vectors) -> Sequence[Choice] | str | None:
        """How its rows would be computed for each parameter, or why there are none; None where it needs no engine."""
        return None


Needs = tuple[Request[Any], ...]
"""What a field must be shown at θ, beside the batch gradient that everybody gets."""
