"""Private copies of a model, and of a whole problem in float64."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..core import Vectors
from ..problem import Bound
from ..problem.losses import sample_loss
from ..problem.reading import widened


def private(model: nn.Module, shared: Vectors = ()) -> Any:
    """A copy that shares the tensors ``shared`` and nothing else; what torch.compile wraps is copied unwrapped."""
    memo: dict[int, Any] = {id(t): t for t in shared}
    for module in model.modules():
        # tensors that a pass stored as attributes (old weight_norm) have a graph, which deepcopy refuses
        left = (v for v in vars(module).values() if isinstance(v, Tensor) and not v.is_leaf)
        memo.update({id(t): t.detach().clone() for t in left})
    for module in model.modules():
        if "_orig_mod" in module._modules:
            memo[id(module)] = copy.deepcopy(module._modules["_orig_mod"], memo)
    return copy.deepcopy(model, memo)


def in_float64(bound: Bound, parameters: Vectors) -> Bound:
    """The problem, copied to float64. Of the memory it shares the random streams alone."""
    model = private(bound.model).double()
    own = {id(p): q for p, q in zip(bound.model.parameters(), model.parameters(), strict=True)}
    loss = private(bound.loss).double() if isinstance(bound.loss, nn.Module) else bound.loss
    x, y = widened((bound.x, bound.y))
    chosen = [own[id(p)] for p in parameters]
    return replace(
        bound, model=model, loss=loss, sample=sample_loss(loss), x=x, y=y, chosen=chosen, memory={"streams": bound.streams}
    )
