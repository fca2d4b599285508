"""A closure, called for each pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import ref

from torch import Tensor

from ...core import Landing
from ...core import vectors as vec
from ...observation import Field, Observation, name_of, observe_closure
from ..audit import reads_direction
from ..trainers import UNSCALED_TWICE
from .abstract import Route

_MADE_BEFORE = (
    "the closure returned the same loss in both passes: its graph was made before, and its gradient is that of the "
    "parameters of then. Run the model inside the closure (zero_grad, forward, backward, return the loss)."
)

_THAWED = (
    "the closure set requires_grad of parameters that were frozen as the step began: they have no part in ε*, and a gradient "
    "of elsewhere. Set it before opt.step(closure)."
)


class ByClosure(Route):
    """Both passes are calls of the closure, which scales its own loss where there is a scaler."""

    _loss: tuple[ref[Tensor], int] | None = None

    def call(self) -> Any:
        """As any route's. Raises: RuntimeError for the same loss as in the pass before, whose graph was made once, at θ."""
        loss = super().call()
        if isinstance(loss, Tensor) and loss.requires_grad:
            if self._loss is not None and self._loss[0]() is loss and self._loss[1] == loss._version:
                raise RuntimeError(_MADE_BEFORE)
            self._loss = ref(loss), loss._version
        return loss

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
        if self.groups.has_thawed:
            raise RuntimeError(_THAWED)
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
