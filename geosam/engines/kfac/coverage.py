"""Which parameters KFAC covers, from the calls of layers recorded on a private twin of the model."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from ...core import Vectors
from ...core.limits import rounding
from ...problem import Bound
from ...problem.modules import altered
from ...problem.reading import walk
from ..widened import unwrapped

_FORWARDS = (nn.Linear.forward, nn.Conv2d.forward)
Calls = dict[nn.Module, list[int | None]]


def uncovered(bound: Bound, parameters: Vectors) -> dict[int, str]:
    """Position of each parameter that KFAC does not cover → the reason; for most, curvlinops would silently be wrong."""
    shapes = tuple(tuple(t.shape) for t in tree_leaves(bound.x) if isinstance(t, Tensor))
    modes = tuple((type(m), m.training) for m in bound.model.modules())
    key = ("kfac", modes, shapes, altered(bound.model), tuple(p.requires_grad for p in bound.model.parameters()))
    reasons = bound.remembered(key, lambda: _reasons(bound, parameters))
    return {i: reasons[name] for i, name in enumerate(bound.names(parameters)) if name in reasons}


def watched(model: nn.Module) -> Calls:
    """Layer → the first size of its input at each call, as the model runs; None where it is not one tensor of samples."""
    calls: Calls = {}

    def note(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls.setdefault(layer, []).append(_rows(layer, inputs))

    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(note)
    return calls


def _rows(layer: nn.Module, inputs: tuple[Any, ...]) -> int | None:
    samples = len(inputs) == 1 and inputs[0].dim() >= (4 if isinstance(layer, nn.Conv2d) else 2)
    return inputs[0].shape[0] if samples else None


def _reasons(bound: Bound, parameters: Vectors) -> dict[str, str]:
    """Name → the reason, by one forward pass."""
    named = dict(bound.model.named_parameters())
    twin = unwrapped(bound)
    owners: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in twin.modules():
        for k, p in module.named_parameters(recurse=False):
            owners.setdefault(id(p), []).append((module, k))
    calls, hooked, inside, mapped = watched(twin), set(), set(), set()

    def compare(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if any(isinstance(t, Tensor) and is_functorch_wrapped_tensor(t) for t in (*inputs, output, *layer.parameters(False))):
            mapped.add(layer)
        elif _rows(layer, inputs) is not None and not _is_its_own(layer, inputs[0], output):
            hooked.add(layer)
        elif isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(lambda slope: inside.add(layer))

    for module in twin.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(compare)
    with bound.replay(), torch.enable_grad():
        outputs = bound.call_copy(twin)
    differentiated = frozenset(inside)
    if not isinstance(outputs, Tensor) or not outputs.dim() or outputs.shape[0] != bound.n:
        raise TypeError("KroneckerFisher needs one tensor of outputs, batch first; wrap the model")
    uses: Counter[int] = Counter()
    if outputs.grad_fn is not None:
        walk(outputs.grad_fn, lambda variable: uses.update([id(variable)]))

    def why(p: Tensor) -> str | None:
        if id(p) not in owners:
            return "written to by the forward pass"
        (layer, k), *others = owners[id(p)]
        kind, called = type(layer).__name__, calls.get(layer, [])
        if others:
            return "shared by several modules"
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            return f"in {kind}, neither Linear nor Conv2d"
        if k not in ("weight", "bias"):
            return f"in {kind}, whose weight is computed from it"
        if getattr(layer.forward, "__func__", None) not in _FORWARDS:
            return f"in {kind}, which has a forward of its own"
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            return "of a convolution with groups"
        if isinstance(layer, nn.Conv2d) and _pads_otherwise(layer):
            return "of a convolution that does not pad zeros on both sides alike; pad by a layer in front of it"
        if not called:
            return "in a layer whose forward is never called"
        if len(called) != 1 or uses[id(p)] != 1:
            cure = "" if uses[id(p)] else "; if it is checkpointed, then with use_reentrant=False"
            return f"used {uses[id(p)]} times, by {len(called)} calls of its layer{cure}"
        if called != [bound.n]:
            return f"in a layer fed {called[0]} rows for {bound.n} samples; keep the samples in its first dimension, alone"
        if layer in mapped:
            return "in a layer that the forward pass runs inside a transform of torch.func"
        if layer in hooked:
            return "in a layer whose output is altered by a hook"
        if layer in differentiated:
            return "in a layer that the forward pass itself differentiates, so that its scores reach it on other ways too"
        return None

    reasons = {name: why(p) for name, p in named.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _pads_otherwise(layer: nn.Conv2d) -> bool:
    odd = any(d * (k - 1) % 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True))
    return layer.padding_mode != "zeros" or (layer.padding == "same" and odd)


def _is_its_own(layer: Any, x: Tensor, output: Any) -> bool:
    """Whether the output is Wx + b, up to rounding; true where it is not finite."""
    with torch.no_grad():
        if isinstance(layer, nn.Linear):
            want = F.linear(x, layer.weight, layer.bias)
        else:
            want = F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        if not isinstance(output, Tensor) or output.shape != want.shape:
            return False
        gap, size = ((output - want).norm(), want.norm()) if want.numel() else (want.sum(), want.sum())
        return not bool(gap > rounding(want.dtype) * size)
