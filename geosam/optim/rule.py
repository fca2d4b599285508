"""What a step reads of its optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from ..core import Solver
from ..observation import Metric, Objective, State
from ..observation.closures import Zeroing
from ..problem import Bound
from .audit import Audit
from .last import Last
from .memory import Owners
from .move import Move
from .overflow import Overflow
from .passes import Passes
from .replicas import Replicas
from .statistics import Statistics
from .updates import Update
from .watch import Watch

Source = Callable[[], Any] | Bound | Sequence[Any]


class Rule(Protocol):
    """What a step reads of its optimizer, the memory that it passes on to the next step, and the last step's numbers."""

    base: torch.optim.Optimizer
    objective: Objective
    solver: Solver | None
    update: Update
    move: Move
    raise_nonfinite: bool
    passes: Passes
    ball: str
    max_norm: float | None
    steps: int
    memory: dict[str, State]
    owners: Owners
    zeroing: Zeroing
    watch: Watch
    statistics: Statistics
    same_mask: bool
    overflow: Overflow
    audit: Audit
    replicas: Replicas
    last: Last | None

    @property
    def metric(self) -> Metric:
        """The geometry."""
