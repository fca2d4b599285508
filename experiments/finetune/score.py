"""Top-1 and top-5."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..common.protocol import tested
from ..common.source import Source

FIVE = 5


@torch.no_grad()
def ranked(model: nn.Module, loss: Any, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """Accuracy and what else is tested; top5: the part of samples whose label is among the five most likely."""
    kept = list(batches)
    hits = sum((model(x).topk(FIVE, 1).indices == y[:, None]).any(1).sum().item() for x, y in kept)
    return {**tested(model, loss, kept), "top5": hits / sum(len(y) for _, y in kept)}


def by_rank(source: Source) -> Any:
    """The score of a protocol."""
    return ranked
