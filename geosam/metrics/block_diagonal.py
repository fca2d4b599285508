"""A geometry for each module, by one rule."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core import Norm
from ..observation import Metric, Needs, Observation, Remembering, State, as_metric
from .blockwise import product
from .fisher import Fisher


@dataclass(frozen=True)
class BlockDiagonal(Remembering[Norm], Metric):
    """One joint ball of a block for each module, ‖ε‖² = Σ_m ‖ε_m‖_m², where ``metric`` gets module m's observation only.

    ``BlockDiagonal(Fisher(λ))`` is the block-diagonal Fisher: G without the entries between modules. A module's parameters are
    those whose names agree up to the last dot. ``Relative`` damping is relative to each block's own mean diagonal.
    Source: Martens & Grosse 2015, section 3; Roux et al. 2008. Raises: ValueError without names; TypeError for a divergence.
    """

    metric: Metric = field(default_factory=Fisher)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metric", as_metric(self.metric))

    @property
    def needs(self) -> Needs:
        """As ``metric.needs``."""
        return self.metric.needs

    def step(self, observation: Observation, state: State) -> tuple[Norm, State]:
        """The joint ball, with the parameters' states."""
        if observation.names is None:
            raise ValueError(
                "blocks are modules, known by the parameters' names, and these have none. Build the base optimizer from "
                "model.named_parameters() (torch >= 2.6), or pass problem.on(x, y)."
            )
        blocks: dict[str, list[int]] = {}
        for i, name in enumerate(observation.names):
            blocks.setdefault(name.rpartition(".")[0], []).append(i)
        return product(observation, [(index, self.metric, 1.0) for index in blocks.values()], state, one_metric=True)
