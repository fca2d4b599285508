"""What a user would take instead: pytorch_optimizer's SAM as installed, davda54's algorithm written from its description."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

INSTALL = "pytorch_optimizer is not installed and its rows are left out; pip install pytorch_optimizer==4.1.0 brings them"


class Still(torch.optim.Optimizer):
    """A base optimizer that does nothing, so that a peer's two steps are perturbing and restoring alone."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        super().__init__(parameters, {})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Nothing."""


class ReferenceSAM(torch.optim.Optimizer):
    """SAM as most code bases write it: ε = ρ T²g / (‖Tg‖ + 1e-12), T = |w| if adaptive, else 1.

    Norms tensor by tensor, stacked; a clone of every parameter; ε formed and added; back by ``p.data = clone``.
    Source: Foret et al. 2021, algorithm 1; Kwon et al. 2021; the widely copied PyTorch version by davda54.
    """

    def __init__(self, base: torch.optim.Optimizer, rho: float, adaptive: bool = False) -> None:
        self.base, self.rho, self.adaptive = base, rho, adaptive
        super().__init__(base.param_groups, {})
        self.parameters = [p for group in base.param_groups for p in group["params"]]

    @torch.no_grad()
    def first_step(self) -> None:
        """θ ← θ + ε, gradients dropped."""
        norms = [((p.abs() if self.adaptive else 1.0) * p.grad).norm(p=2) for p in self.parameters]
        scale = self.rho / (torch.stack(norms).norm(p=2) + 1e-12)
        for p in self.parameters:
            self.state[p]["old_p"] = p.data.clone()
            p.add_((p.pow(2) if self.adaptive else 1.0) * p.grad * scale)
        self.zero_grad()

    @torch.no_grad()
    def second_step(self) -> None:
        """θ ← the clone, then the base step."""
        for p in self.parameters:
            p.data = self.state[p]["old_p"]
        self.base.step()

    def step(self, closure: Callable[[], Any]) -> None:  # type: ignore[override]
        """Both steps; the gradients at θ must be there already."""
        self.first_step()
        with torch.enable_grad():
            closure()
        self.second_step()


def pytorch_optimizer_sam() -> Callable[..., Any] | None:
    """pytorch_optimizer's SAM class, or None where it is not installed."""
    try:
        from pytorch_optimizer import SAM
    except ImportError:
        return None
    return SAM


def versions() -> dict[str, str]:
    """Which peer ran, for the record."""
    try:
        return {"pytorch_optimizer": metadata.version("pytorch_optimizer")}
    except metadata.PackageNotFoundError:
        return {}
