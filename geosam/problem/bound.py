"""A problem on one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..core import Norm, Vectors
from .functional import Opened, called, refuse_plain_references
from .likelihoods import Likelihood
from .losses import Loss, SampleLoss, in_float64, one_number, widened
from .modules import couples_samples, training_modes
from .randomness import Replay
from .surface import Surface


class Structure(NamedTuple):
    """What does not depend on θ. entries: number of a sample's outputs. random: whether the forward pass uses random numbers.
    coupled: whether a normalisation couples the samples of the batch.
    """

    entries: int
    random: bool
    coupled: bool


@dataclass(frozen=True, eq=False)
class Bound:
    """A problem on one batch. It is a closure too: calling it zeroes gradients, runs forward and backward, returns the loss.

    It stores no number that depends on θ: every observation (:func:`geosam.observe`) is at the current parameters.
    """

    model: nn.Module
    loss: Loss
    sample: SampleLoss
    likelihood: Likelihood | None
    x: Any
    y: Any
    n: int
    memory: dict[Any, Any]
    chosen: Vectors | None = None
    frozen_statistics: bool = False

    def wrt(self, parameters: Vectors) -> Bound:
        """The same, differentiated with respect to these parameters (an optimizer's) in this order."""
        return replace(self, chosen=list(parameters))

    @property
    def parameters(self) -> Vectors:
        """The chosen ones, or those of the model that require gradients."""
        return self.chosen or [p for p in self.model.parameters() if p.requires_grad]

    def names(self, parameters: Vectors) -> list[str]:
        """Their names in the model; ValueError for a parameter that is not the model's."""
        known = {id(p): name for name, p in self.model.named_parameters()}
        if any(id(p) not in known for p in parameters):
            raise ValueError("the optimizer holds a parameter that is not the model's: they belong to different models")
        return [known[id(p)] for p in parameters]

    def remembered(self, key: Any, make: Callable[[], Any]) -> Any:
        """A fact about the problem's structure, found once for all its batches. Never a number that depends on θ."""
        if key not in self.memory:
            self.memory[key] = make()
        return self.memory[key]

    def call(self, model: Callable[..., Any], x: Any = None) -> Any:
        """The model's outputs on x, by default the bound inputs."""
        return called(model, self.x if x is None else x)

    def outputs(self) -> Tensor:
        """Outputs at the current parameters, without a graph; buffers and the random state are unchanged."""
        with torch.no_grad(), Replay.now(self.parameters):
            return self.pure(self.parameters)(self.parameters, self.x)

    @property
    def recomputes(self) -> bool:
        """Whether the model was found to recompute activations in its backward pass (checkpointing)."""
        return Opened.RECOMPUTES in self.memory

    def opened(self, parameters: Vectors) -> Opened:
        """(θ, other tensors, x) → outputs."""
        self.names(parameters)
        return Opened(self.model, parameters, self.memory)

    def pure(self, parameters: Vectors) -> Callable[[Sequence[Tensor], Any], Any]:
        """(parameters, x) → outputs; the model's buffers are unchanged. Outputs may be differentiated after the call has ended.

        Raises: RuntimeError where ``torch.func`` differentiates a model that recomputes activations in its backward pass.
        """
        opened = self.opened(parameters)
        return lambda values, x: opened(values, opened.rest, x)

    def structure(self, parameters: Vectors) -> Structure:
        """Found by one forward pass, once for each shape of input and mode of the model."""
        leaves = [tuple(t.shape[1:]) for t in tree_leaves(self.x) if isinstance(t, Tensor)]

        def probe() -> Structure:
            refuse_plain_references(self.model)
            replay = Replay.now(parameters)
            with torch.no_grad(), replay:
                outputs = self.pure(parameters)(parameters, self.x)
            if not isinstance(outputs, Tensor) or not outputs.dim() or outputs.shape[0] != self.n:
                raise TypeError(
                    "a predictive distribution is formed from one tensor of outputs, batch first; this model gives "
                    f"{tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__}. Wrap the model."
                )
            coupled = any(couples_samples(module) for module in self.model.modules())
            return Structure(outputs.numel() // self.n, replay.used, coupled)

        return self.remembered(("structure", training_modes(self.model), *leaves), probe)

    def batch_loss(self, outputs: Any) -> Tensor:
        """The training loss of these outputs."""
        self.sample.check(outputs, self.y)
        return one_number(self.loss(outputs, self.y))

    def surface(self, theta: Vectors | None = None, replay: Replay | None = None, wide: bool = True) -> Surface:
        """ε ↦ L(θ + ε) on the batch, by default at the current parameters and the current random state.

        wide: the loss is computed in float64 from the outputs on, because a rise is a difference of nearly equal losses.
        """
        parameters = self.parameters
        call, loss = self.pure(parameters), in_float64(self.loss) if wide else self.loss
        y = widened(self.y) if wide else self.y

        def at(values: Vectors) -> Tensor:
            outputs = call(values, self.x)
            self.sample.check(outputs, self.y)
            return one_number(loss(widened(outputs) if wide else outputs, y))

        return Surface(parameters if theta is None else theta, at, replay)

    def __call__(self) -> Tensor:
        """Zero the gradients, forward, backward; the loss, detached."""
        for p in self.model.parameters():
            p.grad = None
        with torch.enable_grad():
            loss = self.batch_loss(self.call(self.model))
            loss.backward()
        return loss.detach()

    def explain(self, metric: Any) -> str:
        """As ``metric.explain``: what its engine would do for each parameter on this batch. A norm needs none."""
        if isinstance(metric, Norm):
            return f"{type(metric).__name__} needs no per-sample gradients: no engine is used."
        table: str = metric.explain(self)
        return table
