"""One pass that draws labels and captures the rows of their scores."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from torch import Tensor

from ..core import Vectors
from ..engines import Captured, Engine
from ..engines.weighted import Weighted
from ..problem import Bound
from ..problem.information import check_scores
from ..problem.likelihoods import Likelihood
from ..problem.randomness import Replay
from ..rows import Rows
from ..sampling import Sampling


class Seen(NamedTuple):
    """random: whether the pass has used random numbers."""

    captured: Captured
    drawn: Rows
    outputs: Tensor
    cotangents: Tensor
    random: bool


def scored(sampling: Sampling, engine: Engine, bound: Bound, parameters: Vectors, replay: Replay) -> Seen:
    """The pass, with these random numbers."""
    found: list[Any] = []

    def draw(outputs: Tensor) -> Tensor:
        assert bound.likelihood is not None
        found.extend([outputs.detach(), replay.over])
        with replay.outside():  # labels are drawn once, whatever pass their rows come from
            found.append(cotangents(sampling, bound, bound.likelihood, outputs))
        return cast(Tensor, found[2])

    captured = engine.capture(bound, parameters, draw)
    assert captured.drawn is not None
    outputs, random, taken = found
    return Seen(captured, captured.drawn, outputs, taken, random)


def cotangents(sampling: Sampling, bound: Bound, likelihood: Likelihood, outputs: Tensor) -> Tensor:
    """Of the labels drawn at these outputs, [K, n, ...]. A likelihood's scores are checked once a problem."""
    if sampling.random:
        bound.once(("scores", *outputs.shape[1:]), lambda: check_scores(likelihood, outputs))
    return sampling.cotangents(likelihood, outputs)


def add_checked(engine: Engine, bound: Bound, parameters: Vectors, weighted: Weighted, width: int | None = None) -> None:
    """Add rows of one cotangent a sample; of the losses too, unless the samples are taken ``width`` at a time."""
    step = width or bound.n
    for start in range(0, bound.n, step):
        taken: list[Tensor] = []

        def draw(outputs: Tensor, taken: list[Tensor] = taken) -> Tensor:
            taken.append(weighted.draw(outputs))
            return taken[0]

        captured = engine.capture(bound.part(start, start + step), parameters, draw)
        assert captured.drawn is not None
        weighted.add_drawn(captured.drawn, taken[0])
        if width is None:
            weighted.add(captured.rows)
