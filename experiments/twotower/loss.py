"""The contrastive loss, and how often the other half is found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..common.source import Source

CANDIDATES = 100


def contrastive(z: Tensor, y: Tensor) -> Tensor:
    """½ CE(z, i) + ½ CE(zᵀ, i), each row's own column being its class (InfoNCE, both ways); the images' labels are not used."""
    own = torch.arange(len(z), device=z.device)
    return (F.cross_entropy(z, own) + F.cross_entropy(z.T, own)) / 2


@torch.no_grad()
def retrieved(model: nn.Module, loss: Any, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """accuracy: the part of halves, either way, whose own other half is the most alike of 100. A smaller rest is left out."""
    hits, losses, n = 0.0, 0.0, 0
    for x, y in batches:
        for part in x.split(CANDIDATES):
            if n and len(part) < CANDIDATES:
                continue
            z, own = model(part), torch.arange(len(part), device=part.device)
            hits += ((z.argmax(1) == own).sum() + (z.argmax(0) == own).sum()).item() / 2
            losses, n = losses + len(part) * loss(z, y).item(), n + len(part)
    return {"loss": losses / n, "samples": n, "accuracy": hits / n}


def by_retrieval(source: Source) -> Any:
    """The score of a protocol."""
    return retrieved
