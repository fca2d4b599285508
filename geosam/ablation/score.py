"""How well a model does on batches."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .data import Batch

Score = dict[str, Any]


@torch.no_grad()
def classified(model: nn.Module, loss: Any, batches: Iterable[Batch]) -> Score:
    """The loss of all samples as of one batch; for class labels also accuracy and which samples are wrong, in float32 or wider.

    Logits have the classes, two or more, in their second axis, as cross-entropy wants them. errors: a bit a label, packed, in
    base64.
    """
    total, weight, n, wrong = 0.0, 0.0, 0, []
    for x, y in batches:
        outputs = model(**x) if isinstance(x, dict) else model(*x) if isinstance(x, tuple) else model(x)
        outputs = outputs.float() if isinstance(outputs, Tensor) and outputs.dtype.itemsize < 4 else outputs
        if counts := _weight(loss, y):  # torch gives NaN where every label is ignored
            total, weight = total + counts * loss(outputs, y).double().item(), weight + counts
        n += len(y)
        if _labels(outputs, y):
            counted = y != getattr(loss, "ignore_index", -100)
            wrong.append((outputs.argmax(1) != y)[counted].cpu())
    if not weight:
        raise ValueError("there is not one sample to score the model on")
    score: Score = {"loss": total / weight, "samples": n}
    if wrong:
        bits = torch.cat(wrong)
        score["accuracy"] = 1 - bits.double().mean().item()
        score["labels"], score["errors"] = len(bits), base64.b64encode(np.packbits(bits.numpy()).tobytes()).decode()
    return score


def _weight(loss: Any, y: Any) -> float:
    """What a batch counts in the mean: its samples, or of torch's classification losses its labels with their weights."""
    if type(loss) not in (nn.CrossEntropyLoss, nn.NLLLoss) or y.is_floating_point():
        return float(len(y))
    kept = y[y != loss.ignore_index]
    return float(len(kept)) if loss.weight is None else loss.weight[kept].double().sum().item()


def _labels(outputs: Any, y: Any) -> bool:
    integral = isinstance(y, Tensor) and not (y.is_floating_point() or y.is_complex())
    return integral and isinstance(outputs, Tensor) and outputs.dim() == y.dim() + 1 and outputs.shape[1] > 1


def plain(value: Any) -> Any:
    """Numbers of torch and NumPy as Python's, and None for those that are not finite, as a record holds them."""
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def wrong(score: Score) -> NDArray[Any]:
    """Of each label, whether it was missed."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(score["errors"]), np.uint8))
    return bits[: score["labels"]].astype(bool)
