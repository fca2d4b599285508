"""A pass without randomness, in full precision, in which per-sample results can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves

from ..core.limits import agreement
from ..core.stacks import Watch, eager

_DRAWS: tuple[str, ...] = ("bernoulli", "rand", "normal", "log_normal", "uniform", "exponential", "cauchy", "geometric")
_DRAWS += ("multinomial", "poisson", "binomial", "_standard_gamma", "_sample_dirichlet")
_LOOSEST = 0.2


class Still(Watch):
    """A context in which dropout keeps every entry, times 1/(1 − p), and any other random number is one constant.

    For checks: each operation goes through Python, compiled models run in eager mode, attention and recurrences unfused,
    products of float32 in float32. The random state still advances, so that a ``Replay`` around it knows whether random numbers
    were used.
    """

    def __init__(self) -> None:
        super().__init__()
        self._met: set[torch.dtype] = {torch.float64}
        self._plain = ExitStack()

    def __enter__(self) -> Still:
        # a fused kernel makes its mask inside, and again in its backward pass
        self._plain.enter_context(sdpa_kernel(SDPBackend.MATH))
        self._plain.enter_context(torch.backends.cudnn.flags(enabled=False))
        self._plain.enter_context(unrounded())
        self._plain.enter_context(eager())
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._plain.close()

    @property
    def tolerance(self) -> float:
        """Relative: allows any order of summation in the narrowest type that was used, autocast's included."""
        return min(agreement(*self._met), _LOOSEST)

    def __torch_dispatch__(self, func: Any, kinds: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None) -> Any:
        name = func.overloadpacket.__name__
        if name.startswith("rrelu_with_noise") and "backward" not in name:  # its mean slope
            args = [*args[:2], *[sum(args[2:4]) / 2] * 2, *args[4:]]
        out = func(*args, **(kwargs or {}))
        if name == "native_dropout" and args[2]:
            out = args[0] * (0 if args[1] == 1 else 1 / (1 - args[1])), torch.ones_like(out[1])
        leaves = [out] if isinstance(out, Tensor) else tree_leaves(out)
        floats = [t for t in leaves if isinstance(t, Tensor) and t.is_floating_point()]
        if name.startswith(_DRAWS):
            for t in leaves:
                t.fill_(1 if name.startswith("bernoulli") else 0.5 if t.is_floating_point() else 0)
        self._met.update(t.dtype for t in floats)
        return out


@contextmanager
def unrounded() -> Iterator[None]:
    """Matrix products of float32 tensors are not rounded to TF32 or bfloat16 inside."""
    matmuls: list[Any] = [torch.backends.cuda.matmul, torch.backends.mkldnn]
    matmuls = [getattr(m, "matmul", m) for m in matmuls]
    name, exact = ("fp32_precision", "ieee") if hasattr(matmuls[0], "fp32_precision") else ("allow_tf32", False)
    kept = [(m, getattr(m, name)) for m in matmuls if hasattr(m, name)]
    try:
        for m, _ in kept:
            setattr(m, name, exact)
        yield
    finally:
        for m, value in kept:
            setattr(m, name, value)
