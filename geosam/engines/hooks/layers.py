"""Rows of the parameters of one recorded operation, from its inputs and the gradient of its output."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv1d_weight, conv2d_weight, conv3d_weight

from ...core import vectors as vec
from ...core.undo import Attempt
from .capture import Use
from .layout import SHARED, Axis, Layout

_WEIGHT_GRADIENT: dict[Any, Callable[..., Tensor]] = {
    torch.conv1d: conv1d_weight,
    torch.conv2d: conv2d_weight,
    torch.conv3d: conv3d_weight,
}
_NARROW = 4


def jacobian(use: Use, layout: Layout, delta: Tensor, n: int, like: dict[int, Tensor]) -> dict[int, Tensor]:
    """Rows [n, *shape] of Σ ⟨delta, out⟩. like: position in the arguments → the parameter there, of those wanted."""
    assert layout.out is not None, "only operations with a known layout come here"
    with vec.as_given(delta):
        return _jacobian(use, layout, layout.out, delta, n, like)


def _jacobian(use: Use, layout: Layout, axis: Axis, delta: Tensor, n: int, like: dict[int, Tensor]) -> dict[int, Tensor]:
    if axis == Axis(0) and _is_plain_convolution(use):
        return _convolution(use, delta, n, like)
    if is_linear(use):
        a, d = sequence(use.flat[0], axis, n), sequence(delta, axis, n)
        return {i: d.transpose(1, 2) @ a.to(d.dtype) if i == 1 else d.sum(1) for i in like}
    if _is_affine(use):
        return _affine(use, axis, delta, n, like)
    return _mapped(use, layout, delta, n, like)


def total(use: Use, layout: Layout, delta: Tensor, n: int, like: dict[int, Tensor]) -> dict[int, Tensor]:
    """The sum of the rows, [*shape] for each parameter of ``like``: a weight gradient where that is cheaper than rows."""
    with vec.as_given(delta):
        return _total(use, layout, delta, n, like)


def _total(use: Use, layout: Layout, delta: Tensor, n: int, like: dict[int, Tensor]) -> dict[int, Tensor]:
    if is_linear(use):
        a, d = use.flat[0].flatten(0, -2), delta.flatten(0, -2)
        return {i: d.T @ a.to(d.dtype) if i == 1 else d.sum(0) for i in like}
    if _is_plain_convolution(use):
        args, _ = use.given
        x, gradient = args[0].to(delta.dtype), _WEIGHT_GRADIENT[use.func]
        weight = {1: gradient(x, like[1].shape, delta, *_settings(args))} if 1 in like else {}
        return weight | ({2: delta.transpose(0, 1).flatten(1).sum(1)} if 2 in like else {})
    if _is_affine(use) and layout.out is not None:
        return {i: rows.sum(0) for i, rows in _affine(use, layout.out, delta, n, like).items()}
    return dict(zip(like, _pull_back(use, list(like), _alike(use, delta.dtype))(delta), strict=True))


def _alike(use: Use, dtype: torch.dtype) -> dict[int, Tensor]:
    """The activations that autocast cast down, in this type."""
    return {i: t.to(dtype) for i, t in use.activations.items() if t.is_floating_point() and t.dtype != dtype}


def is_linear_in_parameters(use: Use) -> bool:
    """Whether rows are known to depend on the activations only."""
    return is_linear(use) or _is_plain_convolution(use) or _is_affine(use)


def is_linear(use: Use) -> bool:
    """x Wᵀ + b with x an activation."""
    return use.func is F.linear and 0 not in use.places


def sequence(t: Tensor, axis: Axis, n: int) -> Tensor:
    """[n, T, features]: samples first, all other leading dimensions together."""
    return (t if axis == Axis(0) else axis.front(t, n)).reshape(n, -1, t.shape[-1])


def _scale_and_shift(use: Use) -> tuple[int | None, int | None]:
    """Positions of weight and bias of a normalisation; its shape may be given in several ways before them."""
    args, kwargs = use.positions
    found = dict(zip(("input", "over", "weight", "bias"), args, strict=False)) | kwargs
    return found.get("weight"), found.get("bias")


def _is_affine(use: Use) -> bool:
    return use.func in (F.layer_norm, F.group_norm) and set(use.places) <= set(_scale_and_shift(use))


def _settings(args: Sequence[Any]) -> tuple[Any, ...]:
    """(stride, padding, dilation, groups) of a convolution, given or by default."""
    return (*args[3:7], *(1, 0, 1, 1)[len(args[3:7]) :])


def _is_plain_convolution(use: Use) -> bool:
    """Whether it is a convolution with padding given in numbers."""
    args, kwargs = use.given
    if use.func not in _WEIGHT_GRADIENT or kwargs or not set(use.places) <= {1, 2}:
        return False
    return not isinstance(_settings(args)[1], str)


def _convolution(use: Use, delta: Tensor, n: int, like: dict[int, Tensor]) -> dict[int, Tensor]:
    """The gradient of the kernel for each sample, all samples at once."""
    args, _ = use.given
    x, settings = args[0].to(delta.dtype), _settings(args)
    found = {}
    if 1 in like:
        narrow = settings[3] == 1 and like[1].shape[1] <= _NARROW
        found[1] = (_correlated if narrow else _grouped)(use.func, x, delta, like[1].shape, *settings)
    if 2 in like:
        found[2] = delta.flatten(2).sum(2)
    return found


def _grouped(
    func: Any, x: Tensor, delta: Tensor, shape: torch.Size, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    """The weight gradient of one grouped convolution: the samples become groups of channels."""
    n = x.shape[0]
    together, theirs = x.reshape(1, -1, *x.shape[2:]), delta.reshape(1, -1, *delta.shape[2:])
    rows = _WEIGHT_GRADIENT[func](together, (n * shape[0], *shape[1:]), theirs, stride, padding, dilation, groups * n)
    return rows.reshape(n, *shape)


def _correlated(
    func: Any, x: Tensor, delta: Tensor, shape: torch.Size, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    """∂/∂w[o, c, k] = Σ_t δ[o, t] x[c, st + dk − p]: a convolution of x by δ with stride and dilation exchanged.

    Over three times as fast as a grouped weight gradient where there are few input channels, such as those of an image.
    """
    n = x.shape[0]
    kernels = delta.reshape(-1, 1, *delta.shape[2:])  # [n·O, 1, ...], n groups
    rows = func(x.transpose(0, 1), kernels, None, dilation, padding, stride, n)  # [C, n·O, ...]
    reached = (..., *(slice(size) for size in shape[2:]))  # drops positions that the stride never reaches
    rows = rows[reached]
    return rows.reshape(shape[1], n, shape[0], *shape[2:]).movedim(0, 2)


def _affine(use: Use, axis: Axis, delta: Tensor, n: int, like: dict[int, Tensor]) -> dict[int, Tensor]:
    """Scale and shift of a normalisation: gᵢ = Σ δᵢ∘x̂ᵢ and Σ δᵢ over the positions that share them."""
    scale, shift = _scale_and_shift(use)
    args, kwargs = use.arguments({i: None for i in (scale, shift) if i is not None} | _alike(use, delta.dtype))
    found = {}
    for i, p in like.items():
        each = axis.front(use.func(*args, **kwargs) * delta if i == scale else delta, n)
        # layer norm shares over leading dimensions; group norm has its channels next to the samples
        found[i] = each.reshape(n, -1, *p.shape).sum(1) if use.func is F.layer_norm else each.reshape(n, *p.shape, -1).sum(2)
    return found


def _mapped(use: Use, layout: Layout, delta: Tensor, n: int, like: dict[int, Tensor]) -> dict[int, Tensor]:
    """Any operation: its own vector-Jacobian product, mapped over the samples."""
    places, where = list(like), list(use.activations)
    axes = [layout.out, *(layout.activations[i] for i in where)]
    activations = use.activations | _alike(use, delta.dtype)
    tensors = [delta, *(activations[i] for i in where)]
    fronts = [axis.front(t, n) if axis and axis != SHARED else t for axis, t in zip(axes, tensors, strict=True)]

    def one(delta: Tensor, *activations: Tensor) -> tuple[Tensor, ...]:
        return _pull_back(use, places, dict(zip(where, activations, strict=True)))(delta)

    mapped = torch.func.vmap(one, in_dims=tuple(None if axis == SHARED else 0 for axis in axes))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")  # vmap's fallback: slower, not wrong
        return dict(zip(places, mapped(*fronts), strict=True))


def can_be_formed(use: Use, layout: Layout, delta: Tensor, n: int, like: dict[int, Tensor]) -> bool:
    """Whether rows of this operation can be formed: it may have no batching rule, or write to what samples share."""
    attempt = Attempt()
    try:
        jacobian(use, layout, delta, n, like)
    except RuntimeError as error:
        attempt.refused(error)
        return False
    return True


def _pull_back(use: Use, places: list[int], activations: dict[int, Any]) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """δ ↦ ∂⟨δ, out⟩/∂θ for the parameters at these places in the arguments."""

    def out(*values: Tensor) -> Tensor:
        args, kwargs = use.arguments({**activations, **dict(zip(places, values, strict=True))})
        if use.func is F.embedding:  # whose last argument asks for a sparse gradient
            args, kwargs = args[:6], {**kwargs, "sparse": False}
        return use.func(*args, **kwargs)

    return torch.func.vjp(out, *(use.flat[i].detach() for i in places))[1]  # type: ignore[no-any-return]
