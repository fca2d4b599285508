"""The functions mapped over samples: pure in all that changes between steps, built from a problem's structure alone.

tensors: (θ, the other parameters, buffers, the factor of the per-sample loss).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ...problem.functional import Call
from ...problem.losses import SampleLoss

Function = Callable[..., Any]


def gradient_of_one(call: Call, sample: SampleLoss, outputs: bool) -> Function:
    """One sample: (tensors, x, y) ↦ (gᵢ, (ℓᵢ, outputs if wanted))."""

    def one(tensors: Any, x: Any, y: Any) -> Any:
        theta, others, buffers, factor = tensors
        x, y = tree_map(lambda t: t.unsqueeze(0), (x, y))

        def loss(theta: list[Tensor]) -> tuple[Tensor, Any]:
            z = call(theta, others, buffers, x)
            return sample.one(z, y, factor), z.squeeze(0) if outputs else ()

        return torch.func.grad_and_value(loss, has_aux=True)(theta)

    return one


def rows(call: Call, sample: SampleLoss, outputs: bool, chunk: int | None) -> Function:
    """Some samples: (tensors, x, y) ↦ (rows, (ℓ, outputs if wanted))."""
    one = gradient_of_one(call, sample, outputs)

    def mapped(tensors: Any, x: Any, y: Any) -> Any:
        return torch.func.vmap(one, in_dims=(None, 0, 0), randomness="different", chunk_size=chunk)(tensors, x, y)

    return mapped


def sums(call: Call, sample: SampleLoss) -> Function:
    """Some samples: (tensors, x, y) ↦ (ℓ, Σ gᵢ, Σ gᵢ² in float64), for a compiler, which can fuse the squares."""
    every = rows(call, sample, False, None)

    def summed(tensors: Any, x: Any, y: Any) -> Any:
        jacobian, (losses, _) = every(tensors, x, y)
        return losses, [j.sum(0) for j in jacobian], [j.double().square().sum(0) for j in jacobian]

    return summed


def pulled_of_one(call: Call) -> Function:
    """One sample: (tensors, x, u of shape [K, ...]) ↦ Jᵢᵀu, all K at once."""

    def one(tensors: Any, x: Any, u: Tensor) -> Any:
        theta, others, buffers, _ = tensors
        x = tree_map(lambda t: t.unsqueeze(0), x)
        back = torch.func.vjp(lambda theta: call(theta, others, buffers, x), theta)[1]
        return torch.func.vmap(lambda v: back(v.unsqueeze(0))[0])(u)

    return one


def pulled(call: Call, sample: SampleLoss, chunk: int | None) -> Function:
    """Some samples: (tensors, x, u of shape [K, n, ...]) ↦ Jᵢᵀu, [K, n, ...]."""
    one = pulled_of_one(call)

    def mapped(tensors: Any, x: Any, u: Tensor) -> Any:
        return torch.func.vmap(one, in_dims=(None, 0, 1), out_dims=1, randomness="different", chunk_size=chunk)(tensors, x, u)

    return mapped
