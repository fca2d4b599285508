"""What a few forward passes at θ show about a model, found once for each structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core import Vectors
from ..core.limits import rounding
from ..core.undo import Attempt
from .outputs import View, detached, on_meta, replaced, tensors
from .randomness import Replay

Forward = Callable[[Sequence[Tensor]], Any]
"""Parameters → outputs, a pure function."""


class Facts(NamedTuple):
    """What does not depend on θ. random: whether a pass uses random numbers. coupled: whether a normalisation couples samples.

    graded: whether a pass without autograd computes something else than one with it, as fused kernels for inference may; then
    every pass is made with it. outputs: those of n samples, on the meta device. view: what a likelihood reads of them,
    where they are not one tensor.
    """

    random: bool
    graded: bool
    coupled: bool
    outputs: Any
    n: int
    view: View | None = None

    @property
    def batched(self) -> bool:
        """Whether the outputs are one tensor, batch first."""
        return isinstance(self.outputs, Tensor) and self.outputs.dim() > 0 and self.outputs.shape[0] == self.n

    @property
    def entries(self) -> int:
        """Numbers of a sample's outputs, as far as a likelihood reads them."""
        return int(self.read(self.outputs)[0].numel())

    def read(self, outputs: Any) -> Tensor:
        """What a likelihood reads, as one tensor [n, ...]."""
        return outputs if self.view is None else self.view.read(outputs)


def probe(training: Forward, every: Vectors, evaluation: Forward, theta: Vectors, replay: Replay) -> tuple[bool, Any]:
    """(``graded``, outputs) by two passes as in training, at ``every`` parameter with a gradient, and two without autograd.

    Raises: ValueError where equal passes differ, or where no evaluation at θ gives what training computes.
    """

    def trained() -> Any:
        return detached(_run(training, every, replay, True))

    def evaluated(graded: bool) -> Any:
        return detached(_run(evaluation, theta, replay, graded))

    first, again, plain = trained(), trained(), None
    attempt = Attempt()
    try:
        plain = evaluated(False)
    except RuntimeError as error:  # where the forward pass differentiates
        attempt.refused(error)
    if not agree(first, again) or (plain is not None and not agree(plain, evaluated(False))):
        raise ValueError(
            "two forward passes at the same parameters, with the same random numbers, differ. The model draws from a source "
            "that cannot be set back (a numpy Generator, os.urandom, the time) or keeps something from pass to pass, so that "
            "differences between passes show nothing about θ. Draw from torch's, Python's or numpy's global stream or from a "
            "torch.Generator, keep what lasts in buffers, or use a metric and objective that need the gradient only: Euclidean."
        )
    graded = plain is None or not agree(first, plain)
    if graded and not agree(first, evaluated(True)):
        raise ValueError(
            "the model computes other outputs in training than as a function of the parameters that were chosen: a kernel "
            "for inference is used where no parameter requires a gradient. Give the optimizer all parameters that require "
            "gradients, or switch the kernel off: torch.backends.mha.set_fastpath_enabled(False)."
        )
    return graded, replaced(first, on_meta)


def with_autograd(call: Callable[..., Any]) -> Callable[..., Any]:
    """The same function of (parameters, ...), by the kernels of a pass with a graph also where none is wanted."""

    def run(values: Sequence[Tensor], *rest: Any) -> Any:
        if torch.is_grad_enabled():
            return call(values, *rest)
        with torch.enable_grad():
            return detached(call([v if v.requires_grad else v.detach().requires_grad_() for v in values], *rest))

    return run


def _run(forward: Forward, values: Vectors, replay: Replay, graded: bool) -> Any:
    with torch.set_grad_enabled(graded), replay:
        return forward([v.detach().requires_grad_() for v in values] if graded else values)


def agree(one: Any, other: Any) -> bool:
    """Whether two results hold the same tensors, up to the order of summation. NaN equals NaN."""
    pairs = list(zip(tensors(one), tensors(other), strict=False))
    return all(_close(a, b) for a, b in pairs if a.is_floating_point() and not a.is_nested)


def _close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or not a.numel():
        return a.shape == b.shape
    tolerance = max(rounding(a.dtype), rounding(b.dtype))
    a, b = a.double(), b.double()
    same = (a == b) | (a.isnan() & b.isnan())
    size = torch.where(a.isfinite(), a, 0.0).abs().amax()
    return bool(torch.where(same, 0.0, (a - b).abs()).amax() <= tolerance * size)
