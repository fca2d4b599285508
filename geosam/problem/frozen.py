"""A copy of a model with BatchNorm's statistics held constant: it couples no samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..core import Vectors
from ..core import vectors as vec
from ..core.limits import agreement
from .bound import Bound
from .copies import carry_buffers
from .modules import couples_samples, modules, training_modes

Moments = tuple[Tensor, Tensor]


def frozen(bound: Bound, parameters: Vectors) -> Bound:
    """The problem on a copy of its model, with z = γ(x − μ)/√(σ² + eps) + β for every BatchNorm in training mode.

    μ and σ²: mean and biased variance of this batch at θ, over samples and positions, constants. At θ the outputs are those of
    training mode; the gradient lacks the terms through μ and σ². They are computed by one forward pass in training mode, which
    updates buffers in a training step and changes nothing otherwise; random numbers are replayed, so that an engine that runs
    the whole batch (``Hooks``) has the dropout mask of that pass, and one that maps over samples (``Func``) its own masks.
    Where no samples are coupled: the problem itself.
    Raises: ValueError for SyncBatchNorm, a layer called twice in a pass, and one that normalises otherwise in training mode.
    """
    names = {i: name for i, (m, name) in enumerate(_named(bound.model)) if couples_samples(m)}
    if not names:
        return bound
    _refuse_across_processes(bound.model, names)
    # with the buffers before the pass: its own pass repeats their other updates
    model = bound.writes.copy(bound.model).of(bound.model)
    outputs, moments = _observed(bound, parameters, names)
    for i in names:
        module: Any = modules(model)[i]
        # not called in this pass: NaN would show a call
        found = moments.get(i, (parameters[0].new_full((module.num_features,), torch.nan),) * 2)
        module.training = False
        module._buffers.update(zip(("running_mean", "running_var"), found, strict=True))
    apart = replace(bound, model=model)
    bound.remembered(("frozen", *training_modes(bound.model)), lambda: _check_same(apart, parameters, outputs, names))
    return apart


def _named(model: nn.Module) -> list[tuple[nn.Module, str]]:
    names = {m: name for name, m in model.named_modules()}
    return [(m, names[m]) for m in modules(model)]


def _refuse_across_processes(model: nn.Module, names: Mapping[int, str]) -> None:
    for i, name in names.items():
        if isinstance(modules(model)[i], nn.SyncBatchNorm):
            raise ValueError(
                f"{name or 'the model'} (SyncBatchNorm) normalises by statistics of all processes, which cannot be frozen from "
                "this one's samples. Put it in eval mode, use GroupNorm, or choose a metric that needs no per-sample gradients."
            )


def _observed(bound: Bound, parameters: Vectors, names: Mapping[int, str]) -> tuple[Any, dict[int, Moments]]:
    """(outputs, moments of the input of each BatchNorm that was called), by one pass in training mode."""
    found: dict[int, Moments] = {}
    running = bound.writes.copy(bound.model).of(bound.model)
    parts = modules(running)

    def watch(i: int) -> None:
        def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if i in found:
                raise ValueError(
                    f"{names[i]} ({type(module).__name__}) is called twice in a forward pass and has statistics of each call, "
                    "so they cannot be frozen. Give each call a layer of its own, or choose a metric that needs no per-sample "
                    "gradients."
                )
            found[i] = _moments(module, args[0] if args else kwargs["input"])

        parts[i].register_forward_pre_hook(record, with_kwargs=True)

    for i in names:
        watch(i)
    with torch.no_grad(), bound.replay():
        outputs = bound.call_copy(running)
        if bound.train:
            carry_buffers(running, bound.model)
    return outputs, found


def _moments(module: nn.Module, x: Tensor) -> Moments:
    """(μ, σ²) over all dimensions but the second, with the divisor n: what normalises, not the running statistics."""
    like: Any = next((t for t in (module.running_mean, module.weight) if t is not None), x)
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    variance, mean = torch.var_mean(wide, [d for d in range(x.dim()) if d != 1], correction=0)
    return mean.to(like.dtype), variance.to(like.dtype)


def _check_same(apart: Bound, parameters: Vectors, outputs: Any, names: Mapping[int, str]) -> None:
    """Once per model: ValueError unless the copy's outputs at θ are those of training mode (a subclass may differ)."""
    with torch.no_grad(), apart.replay():
        again = apart.pure(parameters)(parameters, apart.x)
    pairs = [(a, b) for a, b in zip(tree_leaves(outputs), tree_leaves(again), strict=True) if isinstance(a, Tensor)]
    true, found = ([pair[i].double() for pair in pairs] for i in (0, 1))
    size, gap, parts = vec.norm(true), vec.norm(vec.add(found, true, -1.0)), modules(apart.model)
    named = ", ".join(f"{name} ({type(parts[i]).__name__})" for i, name in names.items())
    if torch.isfinite(gap) and gap > agreement(pairs[0][0].dtype) * size:
        raise ValueError(
            f"with the batch's mean and variance held still the outputs differ from those of training mode (relative gap "
            f"{(gap / size).item():.2g}): one of {named} normalises "
            "by something else. Put it in eval mode, or choose a metric that needs no per-sample gradients."
        )
