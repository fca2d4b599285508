"""The random numbers of a first pass, kept for the second one: dropout masks, and all else that a model draws."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..core import Vectors
from ..core.sharded import any_sharded
from ..observation import Field, name_of
from ..problem import Bound, Together
from ..problem.randomness import Replay, foreign


def models(source: Bound | Together | None) -> list[nn.Module]:
    """The problem's modules: the model, and a loss that is one. None of a closure."""
    if source is None:
        return []
    first = source.parts[0]
    return [first.model, *([first.loss] if isinstance(first.loss, nn.Module) else [])]


def random_numbers(source: Bound | Together | None, parameters: Vectors, *fields: Field[Any]) -> Replay:
    """Torch's, on the CPU and on the device, Python's and numpy's; of a problem those of other generators that it draws from.

    Raises: NotImplementedError where the first pass is of a joined batch, whose numbers are not those of micro-batches.
    """
    if source is None or any_sharded(parameters):  # of which no private copy tells what a pass draws from
        return Replay.now(parameters, foreign(*models(source)))
    first = source.parts[0]
    drawn = first.facts(parameters).random  # which also finds the generators
    if drawn and len(source.parts) > 1 and any(field.needs for field in fields):
        raise NotImplementedError(
            f"same_mask=True: {name_of(fields[0])} takes the joined batch in its first pass, whose masks no micro-batch has. "
            "Use opt.perturb before each of them (one ball a micro-batch), or same_mask=False."
        )
    return Replay.now(parameters, [*foreign(*models(source)), *first.streams])
