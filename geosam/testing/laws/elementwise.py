"""Laws of norms whose ♯ works entry by entry, and of those that trace into one graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...core import Norm, Vectors
from ...core import vectors as vec
from ...solvers import solve
from ..drawn import Drawn, combination
from ..measure import equal, within


def list_is_one_flat_tensor(norm: Norm, drawn: Drawn, tolerance: float, flattened: Norm) -> None:
    """ε* of a list of tensors, flattened, is ε* of the flattened list. False for spectral, block and Kronecker norms."""
    parts, whole = solve(norm, drawn.c, drawn.rho), solve(flattened, [vec.flatten(drawn.c)], drawn.rho)
    equal("‖c‖* of the flat tensor", whole.dual_norm, parts.dual_norm, tolerance)
    gap = combination(1.0, whole.epsilon, -1.0, [vec.flatten(parts.epsilon)])
    within("‖ε*(flat) − ε*(list)‖/ρ:", flattened.norm(gap), drawn.rho, tolerance)
    equal("‖v‖ of the flat tensor", flattened.norm([vec.flatten(drawn.v)]), norm.norm(drawn.v), tolerance)


def compiled_is_eager(norm: Norm, c: Vectors, rho: float, tolerance: float, backend: str = "eager") -> None:
    """torch.compile turns c ↦ (ε*, ‖c‖*) into one graph without a break, and its numbers are those of eager mode."""

    def run(c: Vectors) -> tuple[list[Tensor], Tensor]:
        found = solve(norm, c, rho)
        return found.epsilon, found.dual_norm

    compiled: Callable[[Vectors], tuple[list[Tensor], Tensor]] = torch.compile(run, fullgraph=True, backend=backend)
    try:
        (epsilon, dual), (want, want_dual) = compiled(c), run(c)
    except torch._dynamo.exc.TorchDynamoException as error:
        raise AssertionError(f"the graph breaks: {str(error).splitlines()[0]}") from error
    equal("‖c‖* compiled", dual, want_dual, tolerance)
    within("‖ε* compiled − ε*‖/ρ:", norm.norm(combination(1.0, epsilon, -1.0, want)), rho, tolerance)
