"""What a request is: it asks for one quantity at θ. A kind of request is one file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
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
    """Raised by a request that has recorded another way to compute its value: the evaluation is repeated."""


class Lead(NamedTuple):
    """What a pass gives to all requests: the batch loss, its gradient, and the outputs if they are one tensor."""

    loss: Tensor
    gradient: Vectors
    outputs: Any


class Look:
    """One evaluation of a bound problem, while it runs: what requests read and share.

    bound: the problem. apart: the problem of per-sample quantities, itself or its twin with frozen statistics. replay: the
    random numbers of the pass. train: whether the pass belongs to a training step. lead: from the request that leads the pass.
    leader: its engine, if it has one. rows: of the losses, by engine. found: request → its value. itself: whether the pass ran
    the model itself, and no copy.
    """

    lead: Lead
    leader: Engine | None = None
    itself = False

    def __init__(self, bound: Bound, apart: Bound, parameters: Vectors, replay: Replay, train: bool) -> None:
        self.bound, self.apart, self.parameters, self.replay, self.train = bound, apart, parameters, replay, train
        self.rows: dict[Engine, Rows] = {}
        self.found: dict[Request[Any], Any] = {}

    def __getitem__(self, request: Request[T]) -> T:
        """The request's value, computed once."""
        if request not in self.found:
            self.found[request] = request.take(self)
        value: T = self.found[request]
        return value

    def again(self, engine: Engine, compute: Callable[[], T], whole: bool = True) -> T:
        """What an engine gives by a pass of its own with the random numbers of this one. whole: of the whole batch at once.

        Raises: ValueError where the forward pass draws random numbers that are others than those of the leading engine.
        """
        with self.replay:
            value = compute()
        if self.replay.used and self.leader is not None and not (whole and engine == self.leader):
            raise ValueError(
                f"two engines are asked about the samples of one pass, one of them {engine!r}, or one in chunks, and the "
                "forward pass draws random numbers: each would see other ones. Use one engine in all metrics and objectives, "
                "and batches that it takes whole."
            )
        return value

    @cached_property
    def theta(self) -> Vectors:
        """θ: in a step the parameters, which do not move before the geometry was used; else copies, so that it can be kept."""
        return self.parameters if self.train else vec.map(lambda p: p.detach().clone(), self.parameters)


class Request(ABC, Generic[T]):
    """Asks for one quantity at θ. A frozen dataclass: equal requests share one value.

    Implement ``lacking``, ``take`` and ``restrict``.
    """

    lacking: ClassVar[str]
    """An error's text after "… needs": what is missing, and the cure."""
    precedence: ClassVar[int] = 0
    """The request of lowest precedence that can lead a pass does; see ``lead``."""

    def check(self, bound: Bound, who: str) -> None:
        """Raises, before anything is computed, where this problem cannot serve the request."""

    @property
    def single(self) -> bool:
        """Whether it is a per-sample quantity, for which statistics may have to be frozen."""
        return False

    def looking(self) -> AbstractContextManager[None]:
        """A context for evaluations outside a training step: it restores the request's own generator, if it has one."""
        return nullcontext()

    def lead(self, look: Look) -> Lead | None:
        """Loss and gradient of the pass, from the capture that also serves the request; None where it makes none."""
        return None

    @abstractmethod
    def take(self, look: Look) -> T:
        """The value, after ``look.lead`` is set."""

    @abstractmethod
    def restrict(self, value: T, index: Sequence[int]) -> T:
        """The value for the parameters at these positions."""

    def explain(self, apart: Bound, bound: Bound, parameters: Vectors) -> Sequence[Choice] | str | None:
        """How its rows would be computed for each parameter, or why there are none; None where it needs no engine."""
        return None


Needs = tuple[Request[Any], ...]
"""The requests of a field, besides the batch gradient, which is always observed."""
