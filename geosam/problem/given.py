"""A model, its loss and a batch: what is given, and the loss of outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ..core import Brief, Vectors
from ..core.undo import Attempt
from .copies import Copy
from .likelihoods import Likelihood
from .losses import Loss, SampleLoss, one_number, sample_loss
from .reading import Instead, widened

G = TypeVar("G", bound="Given")


@dataclass(frozen=True, eq=False)
class Given(Brief):
    """A model, its loss and a batch. It stores no number that depends on θ. ``memory``: facts that are found once."""

    model: nn.Module
    loss: Loss
    sample: SampleLoss = field(repr=False)
    likelihood: Likelihood | None = field(repr=False)
    x: Any
    y: Any
    n: int = field(repr=False)
    memory: dict[Any, Any] = field(repr=False)
    chosen: Vectors | None = field(default=None, repr=False)
    frozen_statistics: bool = False
    check: str = "sampled"
    inputs_with_grad: Vectors = field(default_factory=list, repr=False)
    """Inputs and targets that require gradients themselves."""
    train: bool = field(default=False, repr=False)
    """Whether its passes belong to a training step, in which a forward pass may write to the parameters."""
    hookless: bool = False
    """Whether its backward pass runs no hook that waits for a parameter's accumulated gradient."""
    scale: float = 1.0
    """A GradScaler's: what the loss is multiplied by before a training step differentiates it. Observations are unscaled."""

    def wrt(self: G, parameters: Vectors) -> G:
        """The same, differentiated with respect to these parameters (an optimizer's) in this order."""
        return replace(self, chosen=list(parameters))

    def scaled(self: G, scale: float) -> G:
        """The same, differentiated at a GradScaler's scale."""
        return replace(self, scale=scale)

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Inside, backward passes add nothing to the gradients of inputs."""
        kept = [(t, t.grad) for t in self.inputs_with_grad if t.is_leaf]
        try:
            for t, _ in kept:
                t.grad = None
            yield
        finally:
            for t, grad in kept:
                t.grad = grad

    def differentiated(self, loss: Tensor) -> Tensor:
        """What a training step's backward pass begins with."""
        return loss if self.scale == 1 else loss * self.scale

    @property
    def parameters(self) -> Vectors:
        """The chosen ones, or those of the model that require gradients."""
        return self.chosen or [p for p in self.model.parameters() if p.requires_grad]

    def names(self, parameters: Vectors) -> list[str]:
        """Their names in the model; ValueError for a parameter that is not the model's."""
        known = {id(p): name for name, p in self.model.named_parameters()}
        if any(id(p) not in known for p in parameters):
            raise ValueError(
                "the optimizer holds a parameter that is not the model's: they belong to different models, or it is the loss's "
                "own and wants an optimizer of its own."
            )
        return [known[id(p)] for p in parameters]

    def remembered(self, key: Any, make: Callable[[], Any]) -> Any:
        """A fact about the problem's structure, found once for all its batches. Never a number that depends on θ."""
        if key not in self.memory:
            self.memory[key] = make()
        return self.memory[key]

    def once(self, key: Any, check: Callable[[], None]) -> None:
        """A check that is made once for all batches."""
        if key not in self.memory:
            check()
            self.memory[key] = True

    def part(self: G, start: int, stop: int) -> G:
        """Some samples of the batch."""
        x, y = tree_map(lambda t: t[start:stop] if isinstance(t, Tensor) else t, (self.x, self.y))
        return replace(self, x=x, y=y, n=min(stop, self.n) - start)

    def quiet(self: G) -> G:
        """The same, with per-sample losses by a copy of the loss as it is now: what it keeps from call to call stays apart."""
        return self if self.sample.known else replace(self, sample=sample_loss(Copy().of(self.loss), self.sample))

    def batch_loss(self, outputs: Any) -> Tensor:
        """The training loss of these outputs."""
        self.sample.check(outputs, self.y)
        return one_number(self.sample.value(self.loss, outputs, self.y))

    def quiet_loss(self, outputs: Any, values: Vectors | None = None, wide: bool = False, copy: Copy | None = None) -> Tensor:
        """The training loss of these outputs; buffers are unchanged.

        values: what the loss reads in place of the bound problem's parameters, where it reads them itself (a penalty, another
        pass of the model). wide: computed in float64 from the outputs on, where the loss allows it. copy: of the model, that
        gave the outputs: the loss reads what this pass stored in it.
        """
        if self.sample.known and not wide:
            return self.batch_loss(outputs)
        loss = replace(self, loss=(copy or Copy()).of(self.loss))  # what it keeps from call to call is the step's
        with torch.set_grad_enabled(torch.is_grad_enabled() or not self.sample.known):  # it may differentiate inside
            if wide:
                attempt = Attempt()
                try:
                    return replace(loss, y=widened(self.y))._read(widened(outputs), values)
                except (RuntimeError, ValueError) as error:  # a loss of one type only
                    attempt.refused(error)
            return loss._read(outputs, values)

    def _read(self, outputs: Any, values: Vectors | None) -> Tensor:
        with self.reading(values):
            return self.batch_loss(outputs)

    def reading(self, values: Vectors | None) -> Instead:
        """A context in which a loss reads ``values`` in place of the parameters, and clones of the buffers."""
        pairs: list[tuple[Tensor, Tensor]] = []
        if not self.sample.known:
            parts = [part for part in (self.model, self.loss) if isinstance(part, nn.Module)]
            pairs = [(b, b.clone()) for part in parts for b in part.buffers()]
            pairs += [] if values is None else zip(self.parameters, values, strict=True)
        return Instead(pairs)
