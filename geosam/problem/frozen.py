"""A copy of a model with BatchNorm's statistics held constant: it couples no samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core import Vectors
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
    for i in names:
        module: Any = modules(model)[i]
        module.training = False
        _hold(module, (parameters[0].new_full((module.num_features,), torch.nan),) * 2)  # where it is not called
    key = ("frozen", *training_modes(bound.model))
    _observe(bound, names, modules(model), check=key not in bound.memory)
    bound.memory[key] = True
    return replace(bound, model=model)


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


def _observe(bound: Bound, names: Mapping[int, str], held: Sequence[nn.Module], check: bool) -> None:
    """Give each BatchNorm of ``held`` the moments of its input, by one pass of the model in training mode.

    check: whether its outputs are compared with those of training mode.
    """
    running = bound.writes.copy(bound.model).of(bound.model)
    parts, seen = modules(running), set[int]()

    def watch(i: int) -> None:
        def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if i in seen:
                raise ValueError(
                    f"{names[i]} ({type(module).__name__}) is called twice in a forward pass and has statistics of each call, "
                    "so they cannot be frozen. Give each call a layer of its own, or choose a metric that needs no per-sample "
                    "gradients."
                )
            seen.add(i)
            _hold(held[i], _moments(module, args[0] if args else kwargs["input"]))
            if check:
                _check_same(output, held[i](*args, **kwargs), f"{names[i]} ({type(module).__name__})")

        parts[i].register_forward_hook(record, with_kwargs=True)

    for i in names:
        watch(i)
    with torch.no_grad(), bound.replay():
        bound.call_copy(running)
        if bound.train:
            carry_buffers(running, bound.model)


def _hold(module: nn.Module, moments: Moments) -> None:
    module._buffers.update(zip(("running_mean", "running_var"), moments, strict=True))


def _moments(module: nn.Module, x: Tensor) -> Moments:
    """(μ, σ²) over all dimensions but the second, with the divisor n: what normalises, not the running statistics."""
    like: Any = next((t for t in (module.running_mean, module.weight) if t is not None), x)
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    variance, mean = torch.var_mean(wide, [d for d in range(x.dim()) if d != 1], correction=0)
    return mean.to(like.dtype), variance.to(like.dtype)


def _check_same(true: Tensor, found: Tensor, who: str) -> None:
    """ValueError unless a layer's output is that of training mode at the same input (a subclass may differ).

    Layer by layer, because what 16 bits round adds up over a deep network.
    """
    kind = true.dtype
    allowed = agreement(kind) if kind.itemsize >= 4 else 4 * torch.finfo(kind).eps  # one layer rounds its output once
    size, gap = (torch.linalg.vector_norm(t.double()) for t in (true, found.double() - true.double()))
    if torch.isfinite(gap) and gap > allowed * size:
        raise ValueError(
            f"{who} normalises by something else than the batch's mean and variance: with these held still its outputs differ "
            f"from those of training mode (relative gap {(gap / size).item():.2g}). Put it in eval mode, or choose a metric "
            "that needs no per-sample gradients."
        )
