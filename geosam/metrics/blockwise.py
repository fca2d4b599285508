"""A geometry for each block of parameters."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

from torch import Tensor

from .._abstract import Metric, Needs, Norm, State, check_instance
from ..evidence import Evidence
from ..norms import BallEach, Block, joint
from ..solvers import check_radius

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


def _check_fits(selector: Selector, evidence: Evidence) -> None:
    """ValueError where nothing at all is selected: a name misspelt would train with ε = 0, or without its metric."""
    named = evidence.named()
    if any(_selects(selector, name, parameter) for name, parameter in named):
        return
    some = ", ".join(str(name) for name, _ in named[:6]) + (", ..." if len(named) > 6 else "")
    raise ValueError(f"the selector {selector!r} matches none of the {len(named)} parameters, which are {some}")


@dataclass(frozen=True)
class Blockwise(Metric):
    """Product geometry from {selector: (metric, weight)}.

    p = 2: one joint ball, ‖ε‖² = Σ_b (‖ε_b‖_b / w_b)². p = ∞: a ball each, ‖ε‖ = max_b ‖ε_b‖_b / w_b. A weight multiplies ρ
    for its block; weight 0 pins it. selector: a pattern on names ("*.bias") or a function (name, parameter) → bool; the
    first that matches wins, and every parameter must be matched. A metric sees its own block's evidence only.
    Raises: ValueError for a parameter that nothing selects, a selector that fits no parameter of the model (one of another
    block, or one that an earlier selector took, will do), a negative weight, or another p.
    """

    parts: Mapping[Selector, tuple[Metric, float]]
    p: float = 2.0

    def __post_init__(self) -> None:
        if self.p not in (2, math.inf):
            raise ValueError(f"p must be 2 (one joint ball) or math.inf (a ball each), got {self.p}")
        for selector, (metric, weight) in self.parts.items():
            check_instance(f"the metric of {selector!r}", metric, Metric)
            check_radius(weight)

    @property
    def needs(self) -> Needs:
        """What any part needs."""
        return reduce(or_, (metric.needs for metric, _ in self.parts.values()), Needs())

    def local(self, evidence: Evidence) -> Norm:
        """The product of the parts' norms at the evidence."""
        return self.step(evidence, {})[0]

    def step(self, evidence: Evidence, state: State) -> tuple[Norm, State]:
        """The product, with the parts' states by their position in ``parts``."""
        chosen: dict[Selector, list[int]] = {selector: [] for selector in self.parts}
        for i, (name, parameter) in enumerate(evidence.named()):
            match = next((s for s in self.parts if _selects(s, name, parameter)), None)
            if match is None:
                raise ValueError(f"no selector matches parameter {i} ({name}); end with '*' to catch the rest")
            chosen[match].append(i)
        for selector, index in chosen.items():
            if not index:
                _check_fits(selector, evidence.origin or evidence)
        return product(evidence, [(index, *self.parts[s]) for s, index in chosen.items()], state, self.p)


def product(
    evidence: Evidence, parts: Sequence[tuple[list[int], Metric, float]], state: State, p: float = 2.0
) -> tuple[Norm, State]:
    """The product geometry of (positions, metric, weight), each metric shown its own block, and the blocks' next states."""
    blocks, states = [], {}
    for b, (index, metric, weight) in enumerate(parts):
        if not index:
            continue
        norm, after = metric.step(evidence.restrict(index), state.get(str(b), {}))
        if not isinstance(norm, Norm):
            raise TypeError(
                f"{type(metric).__name__} is a divergence, and a product needs norms: use KLExact(along=Blockwise(...)), "
                "or one rho for all groups."
            )
        blocks.append(Block(index, norm, weight))
        states[str(b)] = after
    norm = joint(blocks, evidence.parameters) if p == 2 else BallEach(blocks, evidence.parameters)
    return norm, {b: s for b, s in states.items() if s}
