"""Tangents cheaper than torch's: of normalisations while forward mode is traced, and of sums of products in the trace."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from ..core.stacks import eager

_aten: Any = torch.ops.aten
_WIDE = (torch.float32, torch.float64)


@contextmanager
def forward_mode() -> Iterator[None]:
    """Kernels with a forward-mode derivative: not fused attention or recurrences. Compiled models run in eager mode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's warnings about its own tracing, imports and flags
        with (
            eager(),
            sdpa_kernel(SDPBackend.MATH),
            torch.backends.mkldnn.flags(enabled=False),
            torch.backends.cudnn.flags(enabled=False),
        ):
            yield


class _Standardised(torch.autograd.Function):
    """x̂ = (x − μ)/σ over groups; dx̂ = (I − (11ᵀ + x̂x̂ᵀ)/m) dx / σ is symmetric: torch's kernel of the gradient gives it."""

    @staticmethod
    def forward(x: Tensor, kernels: tuple[Callable[..., Any], Callable[..., Any]]) -> tuple[Tensor, Tensor, Tensor]:
        return kernels[0](x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        ctx.save_for_forward(inputs[0], *output[1:])
        ctx.backward_of = inputs[1][1]
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def jvp(ctx: Any, along: Tensor, _: Any) -> tuple[Tensor, None, None]:
        return ctx.backward_of(along.contiguous(), *ctx.saved_tensors), None, None


def _groups(x: Tensor, groups: int, eps: float) -> Tensor:
    n, c, size = x.shape[0], x.shape[1], math.prod(x.shape[2:])

    def forward(x: Tensor) -> Any:
        return torch.native_group_norm(x, None, None, n, c, size, groups, eps)

    def backward(u: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
        return _aten.native_group_norm_backward(u, x, mean, rstd, None, n, c, size, groups, [True, False, False])[0]

    return _Standardised.apply(x.contiguous(), (forward, backward))[0]


def _layers(x: Tensor, shape: Any, eps: float) -> Tensor:
    def forward(x: Tensor) -> Any:
        return torch.native_layer_norm(x, shape, None, None, eps)

    def backward(u: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
        return _aten.native_layer_norm_backward(u, x, shape, mean, rstd, None, None, [True, False, False])[0]

    return _Standardised.apply(x.contiguous(), (forward, backward))[0]


def _primal(t: Any) -> Any:
    return forward_ad.unpack_dual(t).primal if isinstance(t, Tensor) else t


class Normalisations(TorchFunctionMode):
    """GroupNorm and LayerNorm as γx̂ + β with the tangent of x̂ in one kernel, not about twelve."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        rule = {F.group_norm: self.group_norm, F.layer_norm: self.layer_norm}.get(func)
        if rule is None or not args:
            return func(*args, **kwargs)
        x = args[0]
        if x.dtype in _WIDE and not torch.is_autocast_enabled(x.device.type):
            return rule(*args, **kwargs)
        kind = func(*tree_map(_primal, args), **tree_map(_primal, kwargs)).dtype  # torch's own tangent would have another
        return rule(x if x.dtype in _WIDE else x.float(), *args[1:], **kwargs).to(kind)

    @staticmethod
    def group_norm(
        input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
    ) -> Tensor:
        """γx̂ + β, x̂ over groups of channels."""
        shape = (-1, *[1] * (input.dim() - 2))
        scaled = _groups(input, num_groups, eps)
        return _affine(scaled, *(None if t is None else t.reshape(shape) for t in (weight, bias)))

    @staticmethod
    def layer_norm(
        input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
    ) -> Tensor:
        """γx̂ + β, x̂ over the last dimensions."""
        return _affine(_layers(input, list(normalized_shape), eps), weight, bias)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is None:
        return x if bias is None else x + bias
    return x * weight if bias is None else torch.addcmul(bias, x, weight)


_FUSED = {
    _aten.mm.default: _aten.addmm.default,
    _aten.bmm.default: _aten.baddbmm.default,
    _aten.mul.Tensor: _aten.addcmul.default,
}
_ZEROS = {_aten.zeros.default, _aten.zeros_like.default, _aten.new_zeros.default, _aten._efficientzerotensor.default}
_LINEAR = {_aten.mm.default, _aten.bmm.default, _aten.mul.Tensor}
_SHAPED = {_aten.expand.default, _aten.view.default, _aten._unsafe_view.default, _aten.alias.default, _aten.clone.default}
_SHAPED |= {_aten.t.default, _aten.transpose.int, _aten.permute.default, _aten.unsqueeze.default}


def simplify(graph: fx.Graph, moving: set[fx.Node]) -> None:
    """In sums of nodes that depend on v (``moving``), drops zeros (the tangent of an input) and fuses products into them."""
    zeros: set[fx.Node] = set()
    for node in graph.nodes:
        if _is_zero(node, zeros):
            zeros.add(node)
        elif node in moving and node.target is _aten.add.Tensor and len(node.args) == 2 and not node.kwargs:
            for a, b in (node.args, node.args[::-1]):
                if b in zeros and _alike(node, a):
                    node.target, node.args = _aten.expand.default, (a, list(node.meta["val"].shape))
                    break
                if b in moving and b.target in _FUSED and len(b.users) == 1 and _alike(a, b, *b.args):
                    node.target, node.args = _FUSED[b.target], (a, *b.args)
                    break


def _is_zero(node: fx.Node, zeros: set[fx.Node]) -> bool:
    if node.target in _LINEAR:
        return not zeros.isdisjoint(node.args[:2])
    if node.target is _aten.convolution.default:
        return node.args[2] is None and not zeros.isdisjoint(node.args[:2])
    return node.target in _ZEROS or (node.target in _SHAPED and node.args[0] in zeros)


def _alike(*nodes: Any) -> bool:
    """Whether all are tensors, of one type."""
    kinds = [getattr(n.meta.get("val"), "dtype", None) if isinstance(n, fx.Node) else None for n in nodes]
    return kinds[0] is not None and len(set(kinds)) == 1
