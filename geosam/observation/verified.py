"""What engines give in a pass, verified on the batches that are due."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..core import Vectors
from ..core.limits import out_of_memory
from ..core.undo import Attempt
from ..engines import Captured, Engine, Moments
from ..engines.verify import Sums, Verified
from ..engines.weighted import Weighted
from ..problem import Bound
from ..problem.gradient import raise_own
from .request import Look, TakeAgain


def captured(look: Look, engine: Engine) -> Captured:
    """Losses and rows. Raises: ValueError where samples meet; TakeAgain where another engine takes over."""
    check = Verified(engine, look.apart, look.parameters, look.replay)
    with handing_over(check):
        found = check.engine.capture(look.apart, look.parameters)
    weighted = check.weights(found.doubtful)
    if weighted is not None:
        weighted.add(found.rows)
        settle(check, _rows, look.replay.over)
    look.leader = look.leader or engine
    return found


def moments(look: Look, engine: Engine) -> Moments:
    """Losses, gradient and mean squares. Raises: as ``captured``."""
    check = Verified(engine, look.apart, look.parameters, look.replay)
    weighted = check.weights(False)
    with handing_over(check):
        found = check.engine.moments(look.apart, look.parameters, None if weighted is None else weighted.coefficients)
    if weighted is not None:
        weighted.data = found.weighted
    if check.weights(found.doubtful) is not None:
        settle(check, _moments, look.replay.over)
    look.leader = look.leader or engine
    return found


@contextmanager
def handing_over(check: Verified) -> Iterator[None]:
    """Inside, another engine takes over where torch raises (reentrant checkpoints); not after an error of the model's own."""
    attempt = Attempt()
    try:
        yield
    except RuntimeError as error:
        attempt.refused(error)
        if out_of_memory(error):
            raise
        raise_own(check.bound, check.parameters)
        if not check.hand_over():
            raise
        raise TakeAgain from error


def trusted(asked: Engine, bound: Bound, parameters: Vectors) -> Engine:
    """The engine that is used where this one is asked for."""
    return Verified(asked, bound, parameters, bound.replay()).engine


def settle(check: Verified, sums: Sums, random: bool) -> None:
    """As ``check.settle``. Raises: TakeAgain where another engine takes over."""
    if not check.settle(sums, random):
        raise TakeAgain


def _rows(engine: Engine, bound: Bound, parameters: Vectors, weighted: Weighted) -> None:
    weighted.add(engine.capture(bound, parameters).rows)


def _moments(engine: Engine, bound: Bound, parameters: Vectors, weighted: Weighted) -> None:
    weighted.data = engine.moments(bound, parameters, weighted.coefficients).weighted
