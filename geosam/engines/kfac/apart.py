"""Whether the scores of one sample alone reach each sample's place in a layer: by data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...core import Vectors
from ...core.limits import rounding
from ...problem import Bound
from ..widened import unwrapped


def check_apart(bound: Bound, covered: Vectors) -> None:
    """A forward pass of a twin, and two backward passes to the layers of the covered parameters.

    Raises: ValueError where scores of several samples reach one place: they would be added before they are squared.
    """
    twin = unwrapped(bound)
    wanted, ends = {id(p) for p in covered}, dict[str, Tensor]()
    for name, module in twin.named_modules():
        if any(id(p) in wanted for p in module.parameters(recurse=False)):
            module.register_forward_hook(_keep(name, ends))
    with torch.enable_grad():
        outputs = bound.call_copy(twin)
    met = mixed(outputs, {name: end for name, end in ends.items() if end.requires_grad})
    if met:
        raise ValueError(
            f"KFAC: behind {met[0] or 'the model'} the model lets samples meet, or a hook changes gradients otherwise than by "
            "a factor, so that no score there is that of one sample. Give its parameters another metric, by "
            "metrics.Blockwise, or use one that needs no single samples: GradientMagnitude, Fisher."
        )


def _keep(name: str, ends: dict[str, Tensor]) -> Any:
    def hook(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        ends[name] = output

    return hook


def mixed(outputs: Tensor, ends: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors [n, ...] at one place of which several samples' scores arrive; outputs: [n, ...].

    The gradient δ there is linear in the cotangents u of the outputs: where sample i alone reaches a place, cᵢuᵢ for uᵢ gives
    cᵢδ. Which sample it is does not matter, because the factors are sums over samples. A hook that clips gives another factor.
    """
    n, device = len(outputs), outputs.device
    u = torch.sin(2.4 * torch.arange(outputs.numel(), device=device) + 1).reshape(outputs.shape).to(outputs.dtype)
    # far from the factor 1 of what clips; no two alike, up to rounding
    c = 2 + torch.arange(1, n + 1, device=device, dtype=torch.float64).mul(0.618034).frac()
    c = c.to(u.dtype)
    scaled = u * c.reshape(-1, *[1] * (u.dim() - 1))
    given = list(ends.values())
    if not given or not outputs.requires_grad:
        return []
    one, other = (torch.autograd.grad(outputs, given, v, retain_graph=True, allow_unused=True) for v in (u, scaled))
    pairs = zip(ends, one, other, strict=True)
    return [name for name, a, b in pairs if a is not None and b is not None and not _scaled(a, b, c, outputs.dtype)]


def _scaled(a: Tensor, b: Tensor, c: Tensor, kind: torch.dtype) -> bool:
    """Whether each b[i] is some cₖ times a[i], up to rounding."""
    tolerance = max(rounding(a.dtype), rounding(kind))
    a, b = (t.reshape(len(t), -1).double() for t in (a, b))
    size = a.square().sum(1, keepdim=True)
    multiple = torch.where(size > 0, (a * b).sum(1, keepdim=True) / size, 0.0)
    known = c.double().sort().values
    above = torch.searchsorted(known, multiple.contiguous()).clamp_max(len(known) - 1)
    over, under = known[above], known[(above - 1).clamp_min(0)]
    multiple = torch.where(over - multiple < multiple - under, over, under)
    return not torch.linalg.vector_norm(b - multiple * a) > tolerance * torch.linalg.vector_norm(b)
