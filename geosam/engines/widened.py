"""Private copies of a model without compiled wrappers, and of a whole problem in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from ..core import Vectors
from ..problem import Bound
from ..problem.copies import Copy
from ..problem.losses import sample_loss
from ..problem.modules import modules
from ..problem.reading import widened


def unwrapped(bound: Bound) -> Any:
    """A private copy of the model that shares the parameters; what torch.compile wraps is copied without the wrapper."""
    return _bare(bound.writes.copy(bound.model).of(bound.model))


def _bare(model: nn.Module) -> nn.Module:
    for module in modules(model):
        for k, part in module._modules.items():
            module._modules[k] = None if part is None else part._modules.get("_orig_mod", part)
    bare = model._modules.get("_orig_mod", model)
    assert bare is not None, "a wrapper has what it wraps"
    return bare


def in_float64(bound: Bound, parameters: Vectors) -> Bound:
    """The problem, copied to float64. Of the memory it shares the random streams alone."""
    own = {id(p): nn.Parameter(p.detach().double(), p.requires_grad) for p in bound.model.parameters()}
    copy = Copy(own, clones=True)
    model, loss = _bare(copy.of(bound.model)).double(), copy.of(bound.loss)
    if isinstance(loss, nn.Module):
        loss = loss.double()
    x, y = widened((bound.x, bound.y))
    chosen = [own[id(p)] for p in parameters]
    return replace(
        bound,
        model=model,
        loss=loss,
        sample=sample_loss(loss, bound.sample),
        x=x,
        y=y,
        chosen=chosen,
        memory={"streams": bound.streams},
    )
