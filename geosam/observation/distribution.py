"""The model's predictive distribution at θ and around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from ..core import Vectors
from ..predictive import Predictive, Recorder
from ..problem import Bound
from ..problem.modules import training_modes
from ..problem.predicted import check_outputs_alone
from ..problem.probe import with_autograd
from ..problem.randomness import Replay
from .guard import guard
from .request import Look, Request

LACKING = "the model's predictive distribution; a plain closure gives only the batch gradient. Pass problem.on(x, y)."


@dataclass(frozen=True)
class PredictiveDistribution(Request[Predictive]):
    """p_θ(·|x): KL around θ, and products with the true Fisher information."""

    lacking: ClassVar[str] = LACKING

    def check(self, bound: Bound, who: str) -> None:
        """TypeError where the loss has no known likelihood."""
        check_likelihood(bound, who)

    def take(self, look: Look) -> Predictive:
        """From the outputs of the pass, if it ran the model itself without random numbers; else by one more forward pass."""
        bound, parameters, replay = look.bound, look.parameters, look.replay
        assert bound.likelihood is not None
        seen = look.lead.outputs.detach() if look.apart is bound and isinstance(look.lead.outputs, Tensor) else None
        opened, unchanged = bound.opened(parameters), guard(bound)
        rest = opened.rest if look.train else [t.clone() for t in opened.rest]  # cloned, as θ is

        known = bound.structure(parameters)
        given = with_autograd(opened) if known.graded else opened

        def call(values: Sequence[Tensor], x: Any) -> Any:
            return given(values, rest, x)

        def forward(values: Sequence[Tensor]) -> Tensor:
            unchanged()
            with replay:
                return known.read(call(values, bound.x))

        with torch.no_grad():
            outputs = forward(look.theta) if seen is None or known.random else seen
        alone = None
        if not (known.random or known.coupled):
            alone = (lambda values, x: known.read(call(values, tree_map(lambda t: t.unsqueeze(0), x))).squeeze(0)), bound.x
        recorder = _recorder(bound, parameters, rest, lambda *tensors: known.read(opened(*tensors)), replay)
        likelihood = bound.likelihood if known.view is None else known.view.predicted
        return Predictive(forward, likelihood, look.theta, outputs, alone, recorder)

    def restrict(self, value: Predictive, index: Sequence[int]) -> Predictive:
        """As a function of some of the parameters."""
        return value.restrict(index)


def check_likelihood(bound: Bound, who: str) -> None:
    """TypeError where the loss has no known likelihood; ValueError where it reads more than the outputs."""
    if bound.likelihood is None:
        raise TypeError(
            f"{who} needs the model's predictive distribution, and {type(bound.loss).__name__} names none. "
            "Pass Problem(model, loss, likelihood=lambda outputs: torch.distributions....)."
        )
    check_outputs_alone(bound, who)


def _recorder(bound: Bound, parameters: Vectors, rest: Vectors, opened: Callable[..., Any], replay: Replay) -> Recorder:
    leaves, tree = tree_flatten(bound.x)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def program(values: Vectors, given: Vectors) -> Tensor:
        inputs = dict(zip(places, given[len(rest) :], strict=True))
        x = tree_unflatten([inputs.get(i, leaf) for i, leaf in enumerate(leaves)], tree)
        return opened(values, given[: len(rest)], x)

    key = (*bound.names(parameters), training_modes(bound.model), repr(tree))
    return Recorder(program, [*rest, *(leaves[i] for i in places)], replay, bound.memory, key)
