"""A twin (a copy that shares the parameters) of a model with BatchNorm's statistics held constant: it couples no samples."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..core import Vectors
from ..core import vectors as vec
from ..core.limits import agreement
from .bound import Bound
from .modules import couples_samples

# attributes that a schedule may change between two passes (a dropout rate, a mask); modules and containers are copied once
_PLAIN = (bool, int, float, str, type(None), Tensor)

Moments = tuple[Tensor, Tensor]


@contextmanager
def frozen(bound: Bound, parameters: Vectors, train: bool = False) -> Iterator[Bound]:
    """The problem on a twin of its model, with z = γ(x − μ)/√(σ² + eps) + β for every BatchNorm in training mode.

    μ and σ²: mean and biased variance of this batch at θ, over samples and positions, constants. At θ the outputs are those of
    training mode; the gradient lacks the terms through μ and σ². They are computed by one forward pass in training mode, which
    updates buffers if ``train`` and changes nothing otherwise; random numbers are replayed, so that an engine that runs the
    whole batch (``Hooks``) has the dropout mask of that pass, and one that maps over samples (``Func``) its own masks.
    Where no samples are coupled: the problem itself. These contexts do not nest.
    Raises: ValueError for SyncBatchNorm, a layer called twice in a pass, and one that normalises otherwise in training mode.
    """
    names = {module: name for name, module in bound.model.named_modules() if couples_samples(module)}
    if not names:
        yield bound
        return
    _refuse_across_processes(names)
    originals, held = list(bound.model.modules()), list(bound.model.parameters())
    key = ("frozen", *map(id, originals), *map(id, held))
    # stored with the modules themselves, so that their ids are not reused
    twins, _ = bound.remembered(key, lambda: (_copied(bound.model), (originals, held)))
    buffers = _cloned(originals)  # values before the pass: the twin's pass repeats its other updates of them
    outputs, moments = _observed(bound, parameters, names, train)
    apart = replace(bound, model=twins[0])
    try:
        for original, twin, own in zip(originals, twins, buffers, strict=True):
            vars(twin).update({k: v for k, v in vars(original).items() if isinstance(v, _PLAIN)})
            twin._buffers.update(own)
            if original in names:
                twin.training = False
                if original not in moments:  # not called in this pass: NaN would show a call
                    moments[original] = (parameters[0].new_full((int(cast(Any, original).num_features),), torch.nan),) * 2
                twin._buffers.update(zip(("running_mean", "running_var"), moments[original], strict=True))
        bound.remembered((*key, "same"), lambda: _check_same(apart, parameters, outputs, names))
        yield apart
    finally:
        _emptied(twins)


def _refuse_across_processes(names: Mapping[nn.Module, str]) -> None:
    for module, name in names.items():
        if isinstance(module, nn.SyncBatchNorm):
            raise ValueError(
                f"{name or 'the model'} (SyncBatchNorm) normalises by statistics of all processes, which cannot be frozen from "
                "this one's samples. Put it in eval mode, use GroupNorm, or choose a metric that needs no per-sample gradients."
            )


def _copied(model: nn.Module) -> list[nn.Module]:
    """The modules of a twin; its buffers are empty outside the context."""
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [v for m in model.modules() for v in vars(m).values() if isinstance(v, Tensor)]
    twin = copy.deepcopy(model, {id(t): t for t in tensors})
    return _emptied(list(twin.modules()))


def _emptied(twins: list[nn.Module]) -> list[nn.Module]:
    """Drops buffers, and tensors that a pass stored as attributes: they would outlive the pass."""
    for twin in twins:
        twin._buffers.update(dict.fromkeys(twin._buffers))
        vars(twin).update({k: None for k, v in vars(twin).items() if isinstance(v, Tensor)})
    return twins


def _cloned(modules: list[nn.Module]) -> list[dict[str, Tensor | None]]:
    """Clones of each module's buffers; a tensor in two places stays one tensor."""
    own = {id(b): b.clone() for m in modules for b in m._buffers.values() if b is not None}
    return [{k: None if b is None else own[id(b)] for k, b in m._buffers.items()} for m in modules]


def _observed(
    bound: Bound, parameters: Vectors, names: Mapping[nn.Module, str], train: bool
) -> tuple[Any, dict[nn.Module, Moments]]:
    """(outputs, moments of the input of each BatchNorm that was called), by one pass in training mode."""
    found: dict[nn.Module, Moments] = {}

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if module in found:
            raise ValueError(
                f"{names[module]} ({type(module).__name__}) is called twice in a forward pass and has statistics of each call, "
                "so they cannot be frozen. Give each call a layer of its own, or choose a metric that needs no per-sample "
                "gradients."
            )
        found[module] = _moments(module, args[0] if args else kwargs["input"])

    with ExitStack() as stack:
        for module in names:
            stack.callback(module.register_forward_pre_hook(record, with_kwargs=True).remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(bound.replay())
        outputs = bound.call(bound.model) if train else bound.pure(parameters)(parameters, bound.x)
    return outputs, found


def _moments(module: nn.Module, x: Tensor) -> Moments:
    """(μ, σ²) over all dimensions but the second, with the divisor n: what normalises, not the running statistics."""
    like: Any = next((t for t in (module.running_mean, module.weight) if t is not None), x)
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    variance, mean = torch.var_mean(wide, [d for d in range(x.dim()) if d != 1], correction=0)
    return mean.to(like.dtype), variance.to(like.dtype)


def _check_same(apart: Bound, parameters: Vectors, outputs: Any, names: Mapping[nn.Module, str]) -> None:
    """Once per model: ValueError unless the twin's outputs at θ are those of training mode (a subclass may differ)."""
    with torch.no_grad(), apart.replay():
        again = apart.pure(parameters)(parameters, apart.x)
    pairs = [(a, b) for a, b in zip(tree_leaves(outputs), tree_leaves(again), strict=True) if isinstance(a, Tensor)]
    true, found = ([pair[i].double() for pair in pairs] for i in (0, 1))
    size, gap = vec.norm(true), vec.norm(vec.add(found, true, -1.0))
    if torch.isfinite(gap) and gap > agreement(pairs[0][0].dtype) * size:
        raise ValueError(
            f"with the batch's mean and variance held still the outputs differ from those of training mode (relative gap "
            f"{(gap / size).item():.2g}): one of {', '.join(f'{n} ({type(m).__name__})' for m, n in names.items())} normalises "
            "by something else. Put it in eval mode, or choose a metric that needs no per-sample gradients."
        )
