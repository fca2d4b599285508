"""The optimizer of the recipe: Nesterov SGD, a triangular schedule, lookahead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Recipe:
    """(named parameters, steps) ↦ optimizer and schedule. Source: github KellerJordan/cifar10-airbench at f1c599c, airbench94.

    lr and weight_decay are for 1024 samples and do not depend on momentum: one step has lr · batch/(1024 · s) on the mean loss,
    with s = 1 + 1/(1 − momentum) what a gradient moves in all, and the parameters shrink by weight_decay · batch/(1024 · s).
    Not taken over: the rate of BatchNorm's shifts, 64 times the others', which no summary of the recipe mentions.
    """

    batch: int
    lr: float = 11.5
    momentum: float = 0.85
    weight_decay: float = 0.0153

    def __call__(self, parameters: Iterable[tuple[str, nn.Parameter]], steps: int, lr: float | None = None) -> Any:
        """The optimizer of the trainable parameters, and what is done after every step."""
        each = self.batch / (1024 * (1 + 1 / (1 - self.momentum)))
        rate = self.lr if lr is None else lr
        trained = [(name, p) for name, p in parameters if p.requires_grad]
        decay = self.weight_decay / rate
        sgd = torch.optim.SGD(trained, rate * each, self.momentum, weight_decay=decay, nesterov=True)
        return sgd, Lookahead(sgd, steps)


class Lookahead:
    """A triangular schedule, from 0.2 of the rate to all of it at 0.23 of the run and to 0.07 at its end; and slow weights.

    Every fifth step the slow weights go the part 1 − 0.95⁵ (t/T)³ of the way to the weights, which are then put there; at the
    end the weights are put on the slow ones. Source: as the recipe; Zhang et al. 2019.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, steps: int) -> None:
        self.steps, self.optimizer = steps, optimizer
        self.rate = torch.optim.lr_scheduler.LambdaLR(optimizer, self._height)
        self.slow = [p.detach().clone() for p in self._parameters]
        self.done = 0

    @property
    def _parameters(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _height(self, step: int) -> float:
        top, last = round(0.23 * self.steps), max(1, self.steps)
        return 0.2 + 0.8 * step / max(1, top) if step <= top else 1 - 0.93 * (step - top) / max(1, last - top)

    @torch.no_grad()
    def step(self) -> None:
        """After a step of the optimizer."""
        self.rate.step()
        self.done += 1
        last = self.done == self.steps
        if not (last or self.done % 5 == 0):
            return
        kept = 1.0 if last else 0.95**5 * (self.done / self.steps) ** 3
        for slow, p in zip(self.slow, self._parameters, strict=True):
            slow.lerp_(p, 1 - kept)
            p.copy_(slow)

    def state_dict(self) -> dict[str, Any]:
        """The schedule's, the slow weights, and the steps so far."""
        return {"rate": self.rate.state_dict(), "slow": self.slow, "done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.rate.load_state_dict(state["rate"])
        self.slow, self.done = [t.clone() for t in state["slow"]], state["done"]
