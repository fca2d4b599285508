"""A closure, called for each pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from ...core import Landing
from ...core import vectors as vec
from ...observation import Field, Observation, name_of, observe_closure
from ..audit import reads_direction
from ..trainers import UNSCALED_TWICE
from .abstract import Route


class ByClosure(Route):
    """Both passes are calls of the closure, which scales its own loss where there is a scaler."""

    def early(self) -> Any:
        """As :meth:`call`, for a pass that is not the step's last: what it adds to other optimizers' gradients is left out."""
        with self.rule.statistics.others.unchanged(self.groups.parameters):
            return self.call()

    def look(self, fields: Sequence[Field[Any]]) -> Observation:
        """The batch gradient and the loss."""
        for field in fields:
            for request in field.needs:
                raise TypeError(f"{name_of(field)} needs {request.lacking}")
        seen = observe_closure(self.call if self.only_pass else self.early, self.groups.parameters, self.groups.names)
        self.rule.audit.measure(self.groups.parameters)
        return seen if self.scale is None else replace(seen, gradient=vec.scale(seen.gradient, 1 / self.scale))

    def again(self, kept: Any | None, landing: Landing | None) -> Tensor:
        """Raises: RuntimeError where gradients of the first pass are in it, or both were clipped or scaled unannounced."""
        parameters, last = self.groups.parameters, self.rule.last
        try:
            loss = self.rule.zeroing.run_again(self.call, parameters)
        except RuntimeError as error:
            if self.scale is not None and "unscale_() has already been called" in str(error):
                raise RuntimeError(UNSCALED_TWICE) from error
            raise
        harmless = partial(reads_direction, self.rule, kept, self.groups.names)
        self.rule.audit.check(self.early, parameters, last, loss, self.scale is None, harmless, self.sharing)
        return loss

    def leaves(self) -> bool:
        """The observation was that pass."""
        return True
