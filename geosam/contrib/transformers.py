"""transformers: a Trainer whose micro-batches are passed at θ + ε*; scaling, clipping and accumulation stay the Trainer's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from ..optim import SAM
from ..optim.updates import Sharp
from ..problem import Bound

FILE = "geosam.pt"


class SAMTrainer(Trainer):
    """transformers.Trainer with geosam.SAM around its own optimizer, or around one that is given.

    sam: SAM's arguments besides the base optimizer, such as ``{"metric": metrics.ParameterScaled(), "rho": 0.05}``.
    problem: (model, inputs) ↦ ``problem.on(inputs, labels)``, for metrics that need more than a gradient. By default the first
    pass is ``compute_loss`` of the micro-batch, its own mean. One ball a micro-batch (m-sharpness).
    Checkpoints hold geosam's memory beside the optimizer's state.
    Raises: ValueError where gradients are clipped below an update that reads both passes.
    """

    def __init__(
        self,
        *arguments: Any,
        sam: Mapping[str, Any] | None = None,
        problem: Callable[[nn.Module, Mapping[str, Any]], Bound] | None = None,
        **others: Any,
    ) -> None:
        self._parts, self.problem = dict(sam or {}), problem
        self.sam: SAM | None = None
        super().__init__(*arguments, **others)

    def create_optimizer(self, *arguments: Any, **others: Any) -> torch.optim.Optimizer:
        """The base optimizer, which the Trainer steps."""
        base: torch.optim.Optimizer = super().create_optimizer(*arguments, **others)
        if self.sam is None or self.sam.base is not getattr(base, "optimizer", base):
            self.sam = base if isinstance(base, SAM) else SAM(base, **self._parts)
            base = self.optimizer = self.sam.base
            if self.args.max_grad_norm and not isinstance(self.sam.update, Sharp):
                raise ValueError(
                    f"the Trainer would clip the gradient before {self.sam.update} reads it: set max_grad_norm=0, and "
                    f'sam={{..., "max_norm": {self.args.max_grad_norm}}}'
                )
        return base

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *arguments: Any, **others: Any) -> Tensor:
        """Both passes of one micro-batch."""
        assert self.sam is not None
        model.train()
        inputs = self._prepare_inputs(inputs)
        scaler = self.accelerator.scaler

        def closure() -> Tensor:
            model.zero_grad()
            with self.compute_loss_context_manager():
                loss: Tensor = self.compute_loss(model, dict(inputs))
            (loss if scaler is None else scaler.scale(loss)).backward()
            return loss

        if self.problem is None:
            with _reducing(model):
                self.sam.perturb(closure, scaler=scaler)
        else:
            self.sam.perturb(self.problem(model, inputs))
        try:
            return super().training_step(model, inputs, *arguments, **others)
        finally:
            self.sam.restore()

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.sam is not None and self.args.should_save:
            torch.save(self.sam.state_dict()["geosam"], Path(output_dir) / FILE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if self.sam is not None and checkpoint is not None and (file := Path(checkpoint) / FILE).is_file():
            state = torch.load(file, map_location="cpu", weights_only=True)
            self.sam.load_state_dict({**self.sam.base.state_dict(), "geosam": state})


@contextmanager
def _reducing(model: nn.Module) -> Iterator[None]:
    """Inside, DistributedDataParallel averages gradients also where it accumulates them: the ball is one for all processes."""
    own = vars(model)
    silent = own.get("require_backward_grad_sync") is False
    try:
        own |= {"require_backward_grad_sync": True} if silent else {}
        yield
    finally:
        own |= {"require_backward_grad_sync": False} if silent else {}
