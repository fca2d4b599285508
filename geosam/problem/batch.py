"""The passes of a model on one batch, and what is found out about them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ..core import Vectors
from ..core.stacks import eager
from ..core.undo import undisturbed
from .copies import Copy
from .data import versions
from .examine import examine
from .functional import Opened, Writes, called, places
from .given import Given
from .likelihoods import of_loss
from .modules import check_replicated, couples_samples, structure, training_modes
from .outputs import replaced, view
from .probe import Facts, probe, with_autograd
from .randomness import Handed, Replay, Stream, foreign
from .reading import tensors

_WRITES = (
    "the model writes into its inputs, so that the next pass at the same batch would see others. Begin its forward with "
    "x = x.clone(), or leave out inplace=True in its first layer."
)


@dataclass(frozen=True, eq=False)
class Batch(Given):
    """The model and the loss as functions on one batch. It stores no number that depends on θ."""

    def call(self, model: Callable[..., Any]) -> Any:
        """The model's outputs on the bound inputs. Raises: RuntimeError where it writes into these."""
        before = versions(self.x)
        outputs = called(model, self.x)
        if versions(self.x) != before:
            raise RuntimeError(_WRITES)
        return outputs

    def call_copy(self, copy: Callable[..., Any]) -> Any:
        """The outputs of a copy of the model with hooks: in eager mode, as compiled code calls those it was made with."""
        with eager():
            return called(copy, self.writes.given(self.x))

    @undisturbed
    def outputs(self) -> Tensor:
        """Outputs at the current parameters, without a graph; buffers and the random state are unchanged."""
        with torch.no_grad(), self.replay():
            return self.evaluation(self.parameters)(self.parameters, self.x)[0]

    def replay(self) -> Replay:
        """The random numbers from the current state on, of every stream that the problem was found to use."""
        return Replay.now(self.chosen or list(self.model.parameters())[:1], self.streams)

    @property
    def streams(self) -> list[Stream]:
        """Those that the problem was found to use, besides torch's own generators."""
        found: list[Stream] = self.memory.setdefault("streams", [])
        return found

    def opened(self, parameters: Vectors) -> Opened:
        """(θ, other tensors, x) → outputs. Raises: ValueError where a copy of the model reads the original's tensors;
        NotImplementedError for a model that is sharded over processes.
        """
        check_replicated(self.model)
        self.names(parameters)
        return Opened(self.model, parameters, self.writes)

    @property
    def writes(self) -> Writes:
        """What a forward pass writes to, and a private copy has clones of; found once for each mode of the model."""

        def look() -> Writes:
            with Replay.now(self.parameters, foreign(self.model)), Handed():
                return examine(self.model, self.x)

        found: Writes = self.remembered(("writes", *training_modes(self.model)), look)
        if not (self.train and found.parameters):
            return found
        # a step moves those with a gradient, and the model's own pass may write to them
        held = places(self.model, "_parameters")
        return replace(found, parameters=frozenset(place for place in found.parameters if not held[place].requires_grad))

    def pure(self, parameters: Vectors) -> Callable[[Sequence[Tensor], Any], Any]:
        """(parameters, x) → outputs, by a copy of the model. Outputs may be differentiated after the call has ended.

        Raises: RuntimeError where ``torch.func`` differentiates a model that recomputes activations in its backward pass.
        """
        opened = self.opened(parameters)
        return lambda values, x: opened(values, opened.rest, x)

    def joint(self, parameters: Vectors) -> Callable[[Sequence[Tensor], Any], tuple[Any, Copy]]:
        """As ``pure``, with the copy itself, for a loss that reads the model."""
        opened = self.opened(parameters)
        return lambda values, x: opened.joint(values, opened.rest, x)

    def evaluation(self, parameters: Vectors) -> Callable[[Sequence[Tensor], Any], tuple[Any, Copy]]:
        """As ``joint``, by the kernels that training uses also where no graph is wanted."""
        joint = self.joint(parameters)
        return with_autograd(joint) if self.facts(parameters).graded else joint

    def facts(self, parameters: Vectors) -> Facts:
        """Found by five forward passes, once for each shape of input, mode of the model and choice of parameters."""
        if self.train and self.writes.inputs:
            raise RuntimeError(_WRITES)
        return self.remembered(("facts", *self._structure(parameters)), lambda: self._probe(parameters))

    def _structure(self, parameters: Vectors) -> tuple[Any, ...]:
        shapes = (tuple(t.shape[1:]) for t in tree_leaves(self.x) if isinstance(t, Tensor))
        return (*structure(self.model, parameters), *shapes)

    def _probe(self, parameters: Vectors) -> Facts:
        every = [p for p in self.model.parameters() if p.requires_grad]

        def run(call: Callable[..., Any], values: Sequence[Tensor]) -> Any:
            outputs, copy = call(values, self.x)
            return outputs, None if self.sample.known else self.quiet_loss(outputs, copy=copy)

        evaluation, training = (partial(run, self.joint(chosen)) for chosen in (parameters, every))
        self._notice(lambda: training(every))
        replay = self.replay()
        graded, (outputs, _) = probe(training, every, evaluation, parameters, replay)
        coupled = any(couples_samples(module) for module in self.model.modules())
        return Facts(replay.used, graded, coupled, outputs, self.n)

    def _notice(self, run: Callable[[], Any]) -> None:
        """Add the streams that are used while this runs."""
        known, handed = foreign(self.model, self.loss), Handed()
        with torch.enable_grad(), Replay.now(self.parameters, known) as replay, handed:
            run()
        for stream in [*(s for s in known if s in replay.drawn), *handed.streams]:
            if all(stream.source is not other.source for other in self.streams):
                self.streams.append(stream)

    def whole(self, parameters: Vectors) -> bool:
        """Whether the loss reads a number that the model makes of the whole batch, as where it computes the loss itself.

        Then the losses of samples are those of the model on each alone, and cannot be had from the outputs.
        """
        return bool(self.remembered(("whole", *self._structure(parameters)), self._reads_numbers))

    def _reads_numbers(self) -> bool:
        if self.sample.known:
            return False
        with torch.no_grad(), self.replay():
            outputs, copy = self.evaluation(self.parameters)(self.parameters, self.x)
        if not any(_is_number(t) for t in tensors(outputs)):
            return False
        spoilt = replaced(outputs, lambda t: t * math.nan if _is_number(t) else t)
        return bool(self.quiet_loss(spoilt, copy=copy).isnan())

    def structure(self, parameters: Vectors) -> Facts:
        """As ``facts``. Raises: TypeError where neither the outputs nor what the likelihood reads are tensors, batch first."""
        facts = self.facts(parameters)
        if facts.batched:
            return facts
        if self.likelihood is not None and self.likelihood is not of_loss(self.loss):
            known, key = self.likelihood, ("view", *self._structure(parameters))
            facts = facts._replace(view=self.remembered(key, lambda: view(known, self.outputs(), self.n)))
        if facts.view is None:
            shape = tuple(facts.outputs.shape) if isinstance(facts.outputs, Tensor) else type(facts.outputs).__name__
            raise TypeError(
                f"a predictive distribution is formed from one tensor of outputs, batch first; this model gives {shape}. Wrap "
                "the model."
            )
        return facts


def _is_number(t: Tensor) -> bool:
    return not t.dim() and t.is_floating_point()
