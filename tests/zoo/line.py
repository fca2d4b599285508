"""A line of the zoo: one model with one loss on one batch, and what geosam refuses there."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import geosam

GRADIENT = ("Euclidean", "ParameterScaled", "GradientMagnitude", "Monge", "FilterWise")
ROWS = ("rows", "rows by Func", "EmpiricalFisher", "DiagonalEmpiricalFisher")
PRODUCTS = ("KL", "Fisher products", "Fisher by products", "Fisher by rows", "BlockDiagonal")
DRAWS = ("DiagonalFisher", "KroneckerFisher")
GROUPS = {
    "gradient": GRADIENT,
    "distribution": (*PRODUCTS, *DRAWS, "KLExact"),
    "samples": (*ROWS, *DRAWS, "KLExact"),
    "all": (*GRADIENT, *ROWS, *PRODUCTS, *DRAWS, "KLExact", "sharpness"),
}
"""Names for several quantities: of the gradient, of the predictive distribution, of single samples."""

TOGETHER = tuple(name for name in GROUPS["all"] if name != "KroneckerFisher")
"""Where samples meet: its factors are defined for single samples only."""

NO_LIKELIHOOD = {"distribution": "needs the model's predictive distribution"}
NO_MEAN = {"samples": "this loss is not a mean over samples"}
MEET = {"samples": "lets samples meet"}


def no_second(name: str) -> dict[str, str]:
    """torch cannot derive this operation twice."""
    return {"sharpness": f"{name} is not implemented"}


@dataclass
class Setting:
    """What a line builds, anew at each call. loss may read ``model``.

    together: samples meet, or random numbers belong to the batch, so that the oracle too runs the batch as a whole. plain: the
    model that the oracle runs, if it is another. frozen: ``Problem(frozen_statistics=True)``. start: sets back what the model
    changes in itself.
    """

    model: nn.Module
    loss: Callable[[Any, Any], Tensor]
    x: Any
    y: Any
    likelihood: Callable[[Tensor], torch.distributions.Distribution] | None = None
    together: bool = False
    plain: nn.Module | None = None
    frozen: bool = False
    start: Callable[[], object] = lambda: None

    @cached_property
    def bound(self) -> geosam.problem.Bound:
        """The problem as a user would pose it."""
        return geosam.Problem(self.model, self.loss, self.likelihood, frozen_statistics=self.frozen).on(self.x, self.y)


@dataclass(frozen=True)
class Line:
    """name: model, loss. refused: quantity or group of them → regular expression on the message; all others must be right.

    only: the quantities asked for, by default all. dtypes: in which the line is run. tolerance: relative, by
    default that of the type.
    """

    name: str
    make: Callable[[], Setting]
    refused: Mapping[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = GROUPS["all"]
    dtypes: tuple[torch.dtype, ...] = (torch.float64, torch.float32)
    tolerance: float | None = None

    def reason(self, quantity: str) -> str | None:
        """Why the quantity is refused, or None; its own name precedes its groups'."""
        groups = (name for name, members in GROUPS.items() if quantity in members)
        return next((self.refused[name] for name in (quantity, *groups) if name in self.refused), None)

    def build(self, dtype: torch.dtype) -> Setting:
        """The setting with its tensors in this type, the same at each call."""
        with torch.random.fork_rng(devices=[]), default(dtype):
            seed()
            return self.make()

    def twin(self, setting: Setting) -> Setting:
        """The same numbers in float64, in other tensors."""
        found = self.build(torch.float64)
        for of in (found.model, found.loss):
            source = setting.model if of is found.model else setting.loss
            if isinstance(of, nn.Module):
                with torch.no_grad():
                    for kind in ("parameters", "buffers"):
                        for p, q in zip(getattr(of, kind)(), getattr(source, kind)(), strict=True):
                            p.copy_(q)
        found.x, found.y = tree_map(wide, (setting.x, setting.y))
        return found


def wide(leaf: Any) -> Any:
    return leaf.detach().double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    """The type of the tensors that a model makes."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def seed() -> None:
    """All three random streams at their start."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
