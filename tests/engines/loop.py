"""Rows by a loop over single samples, and what compares engines with it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import geosam


def loop(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
    """(losses, rows): one forward and backward a sample."""
    losses, rows = [], []
    for i in range(len(x)):
        loss = F.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        rows.append(torch.autograd.grad(loss, list(model.parameters())))
        losses.append(loss.detach())
    return torch.stack(losses), [torch.stack(column) for column in zip(*rows, strict=True)]


def close(u: list[Tensor], v: list[Tensor], tolerance: float) -> None:
    for a, b in zip(u, v, strict=True):
        assert (a.double() - b.double()).abs().max() <= tolerance * (1 + b.double().abs().max())


def bind(model: nn.Module, x: Tensor, y: Tensor, loss: object = None) -> geosam.problem.Bound:
    return geosam.Problem(model, loss or nn.CrossEntropyLoss()).on(x, y)


def slopes(y: Tensor):
    """Outputs ↦ ∂ℓ/∂z, as one cotangent a sample: what it pulls back is the rows of the loss itself."""

    def draw_them(outputs: Tensor) -> Tensor:
        z = outputs.detach().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(z, y, reduction="sum"), z)[0].unsqueeze(0)

    return draw_them
