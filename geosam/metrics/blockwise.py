"""A geometry for each block of parameters."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..core import Norm, check_radius
from ..norms import BallEach, Block, Identity, joint
from ..observation import Constant, Metric, Needs, Observation, Remembering, State, as_metric, name_of
from ..observation.state import Path, leaves, nested, of_block, put_block

Selector = str | Callable[[str | None, Tensor], bool]


def _selects(selector: Selector, name: str | None, parameter: Tensor) -> bool:
    if not isinstance(selector, str):
        return selector(name, parameter)
    if name is None:
        raise ValueError(
            f"the selector {selector!r} matches names, and the parameters have none. Build the base optimizer from "
            "model.named_parameters() (torch >= 2.6), pass problem.on(x, y), or select by a function of (name, parameter)."
        )
    return fnmatch.fnmatchcase(name, selector)


def check_selector(selector: Any) -> None:
    """TypeError unless it is a pattern on names, or a function; a metric in its place matches nothing."""
    if not isinstance(selector, str) and (isinstance(selector, type) or not callable(selector)):
        raise TypeError(f'a selector is a pattern on names ("*.bias") or a function (name, parameter) → bool; got {selector!r}')


def _check_fits(selector: Selector, observation: Observation) -> None:
    """ValueError where nothing is selected: with a misspelt name training would have ε = 0, or not the metric."""
    named = observation.named()
    if any(_selects(selector, name, parameter) for name, parameter in named):
        return
    some = ", ".join(str(name) for name, _ in named[:6]) + (", ..." if len(named) > 6 else "")
    raise ValueError(f"the selector {selector!r} matches none of the {len(named)} parameters, which are {some}")


@dataclass(frozen=True)
class Blockwise(Remembering[Norm], Metric):
    """Product geometry from {selector: (metric, weight)}.

    p = 2: one joint ball, ‖ε‖² = Σ_b (‖ε_b‖_b / w_b)². p = ∞: a ball each, ‖ε‖ = max_b ‖ε_b‖_b / w_b. A weight multiplies ρ
    for its block; weight 0 pins it. selector: a pattern on names ("*.bias") or a function (name, parameter) → bool; the
    first that matches wins, and every parameter must be matched. A metric gets its own block's observation only.
    Raises: ValueError for a parameter that nothing selects, a selector that matches no parameter of the model (a match that
    belongs to another block or an earlier selector is enough), a negative weight, or another p.
    """

    parts: Mapping[Any, tuple[Metric | Norm, float]]
    p: float = 2.0

    def __post_init__(self) -> None:
        if self.p not in (2, math.inf):
            raise ValueError(f"p must be 2 (one joint ball) or math.inf (a ball each), got {self.p}")
        if not isinstance(self.parts, Mapping) or not all(isinstance(p, tuple) and len(p) == 2 for p in self.parts.values()):
            raise TypeError(
                'Blockwise takes {selector: (metric, weight)}, such as {"*.bias": (geosam.metrics.Euclidean(), 0.5), ...}; '
                f"got {self.parts!r}"
            )
        for selector in self.parts:
            check_selector(selector)
        parts = {s: (as_metric(metric, f"the metric of {s!r}"), weight) for s, (metric, weight) in self.parts.items()}
        for _, weight in parts.values():
            check_radius(weight)
        object.__setattr__(self, "parts", parts)

    @property
    def needs(self) -> Needs:
        """The needs of all parts."""
        return tuple(request for metric, _ in self.parts.values() for request in as_metric(metric).needs)

    def step(self, observation: Observation, state: State) -> tuple[Norm, State]:
        """The product, with the parts' states by their position in ``parts``."""
        chosen: dict[Selector, list[int]] = {selector: [] for selector in self.parts}
        for i, (name, parameter) in enumerate(observation.named()):
            match = next((s for s in self.parts if _selects(s, name, parameter)), None)
            if match is None:
                raise ValueError(f"no selector matches parameter {i} ({name}); end with '*' to catch the rest")
            chosen[match].append(i)
        for selector, index in chosen.items():
            if not index:
                _check_fits(selector, observation.origin or observation)
        return product(
            observation, [(index, as_metric(self.parts[s][0]), self.parts[s][1]) for s, index in chosen.items()], state, self.p
        )


Part = tuple[list[int], Metric, float]
"""Positions of parameters, their metric and their weight."""


def product(
    observation: Observation, parts: Sequence[Part], state: State, p: float = 2.0, one_metric: bool = False
) -> tuple[Norm, State]:
    """The product geometry of (positions, metric, weight), each metric given its own block, and the blocks' next states.

    one_metric: all blocks have the same metric, so that a parameter keeps its memory in whichever block it is.
    """
    blocks: list[Block] = []
    found, after, count = leaves(state), dict[Path, Any](), len(observation.parameters)
    for b, (index, metric, weight) in enumerate(parts):
        if not index:
            continue
        places = (index, count, () if one_metric else (str(b),), (str(b),))
        if not any(observation.parameters[i].numel() for i in index):  # no entries, of which a mean diagonal is not defined
            metric = Constant(Identity())
        norm, own = metric.step(observation.restrict(index), of_block(found, *places))
        put_block(after, own, *places)
        if not isinstance(norm, Norm):
            raise TypeError(
                f"{name_of(metric)} is a divergence, and a product needs norms: use KLExact(along=Blockwise(...)), "
                "or one rho for all groups."
            )
        blocks.append(Block(index, norm, weight))
    norm = joint(blocks, observation.parameters) if p == 2 else BallEach(blocks, observation.parameters)
    return norm, nested(after)
