"""Lightning: the first pass as a callback; forward, backward, clipping, precision and accumulation stay the Trainer's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
from torch import Tensor
from torchmetrics import Metric

from ..optim import SAM
from ..optim.updates import Sharp
from ..problem import Bound

Batched = Callable[[pl.LightningModule, Any], Bound]


class Callback(pl.Callback):
    """Each batch's ``training_step`` runs at θ + ε*, for a module whose ``configure_optimizers`` returns a geosam.SAM.

    The Trainer is given the base optimizer, and θ is back after each backward pass. With ``accumulate_grad_batches`` each
    micro-batch has a ball of its own (m-sharpness).
    problem: (module, batch) ↦ ``problem.on(x, y)``, for metrics that need more than a gradient and for manual optimisation. By
    default the first pass is a ``training_step`` of its own, whose logs and torchmetrics are not counted.
    Checkpoints hold geosam's memory.
    Raises: ValueError without a SAM optimizer, with several, and where gradients are clipped below an update that reads both;
    TypeError for manual optimisation without ``problem``.
    """

    def __init__(self, problem: Batched | None = None) -> None:
        self.problem = problem
        self.sam: SAM | None = None
        self._loaded: Mapping[str, Any] | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the Trainer the base optimizer."""
        found = [opt for opt in trainer.optimizers if isinstance(opt, SAM)]
        if len(found) != 1:
            raise ValueError(
                f"configure_optimizers returns {len(found)} geosam.SAM optimizers, and this callback takes one. For several "
                "use manual optimisation: return each one's base, and call perturb before each forward pass."
            )
        if self.problem is None and not pl_module.automatic_optimization:
            raise TypeError(
                "with manual optimisation training_step takes the step itself, and cannot be the first pass too: pass "
                "Callback(problem=lambda module, batch: problem.on(*batch))"
            )
        (self.sam,) = found
        if trainer.gradient_clip_val and not isinstance(self.sam.update, Sharp):
            raise ValueError(
                f"the Trainer would clip the gradient before {self.sam.update} reads it: leave out gradient_clip_val, and use "
                f"SAM(..., max_norm={trainer.gradient_clip_val})"
            )
        trainer.strategy.optimizers = [opt.base if opt is self.sam else opt for opt in trainer.optimizers]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take up geosam's memory of a checkpoint, after the base optimizer's state."""
        if self.sam is not None and self._loaded is not None:
            self.sam.load_state_dict({**self.sam.base.state_dict(), "geosam": self._loaded})
            self._loaded = None

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """The first pass, on this batch."""
        assert self.sam is not None
        if pl_module.automatic_optimization and batch_idx % trainer.accumulate_grad_batches == 0:
            self.sam.zero_grad()  # as the Trainer does a little later: nothing of a step that a scaler skipped is left
        if self.problem is not None:
            with trainer.precision_plugin.train_step_context():
                self.sam.perturb(self.problem(pl_module, batch))
            return
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        arguments = (batch, batch_idx)[: len(inspect.signature(pl_module.training_step).parameters)]

        def closure() -> Tensor | None:
            pl_module.zero_grad()
            with _uncounted(pl_module):
                found = trainer.strategy.training_step(*arguments)
            loss: Tensor | None = found["loss"] if isinstance(found, Mapping) else found
            if loss is not None:
                (loss if scaler is None else scaler.scale(loss)).backward()
            return loss

        self.sam.perturb(closure, scaler=scaler)

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """θ is back before anything else reads it; the update waits for the base optimizer's step."""
        assert self.sam is not None
        self.sam.restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """θ is back."""
        if self.sam is not None:
            self.sam.restore()

    def state_dict(self) -> dict[str, Any]:
        """geosam's memory."""
        return {} if self.sam is None else {"geosam": self.sam.state_dict()["geosam"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Kept until there is an optimizer."""
        self._loaded = state_dict.get("geosam")


@contextmanager
def _uncounted(module: pl.LightningModule) -> Iterator[None]:
    """Inside, nothing is logged, and torchmetrics are copies."""
    held = [(m, name, part) for m in module.modules() for name, part in m.named_children() if isinstance(part, Metric)]
    silent: dict[str, Callable[..., None]] = {name: lambda *_, **__: None for name in ("log", "log_dict")}
    try:
        vars(module).update(silent)
        for parent, name, metric in held:
            parent._modules[name] = metric.clone()
        yield
    finally:
        for parent, name, metric in held:
            parent._modules[name] = metric
        for name in silent:
            vars(module).pop(name)
