"""The buffers of a model as they were before a step."""

from __future__ import annotations

import torch

from ..core import vectors as vec
from ..problem import Bound
from ..problem.functional import places
from ..problem.modules import modules, training_modes


class Buffers:
    """Copies of the buffers that a step's passes write to, for a step that is broken off.

    Which ones these are is seen when it is first done in each mode of the model, with copies of all. what: names what is done.
    """

    def __init__(self, bound: Bound, what: str) -> None:
        self._memory, self._model = bound.memory, bound.model
        self._key = ("written buffers", what, *training_modes(bound.model))
        known = self._memory.get(self._key)
        self._held = {place: b for place, b in places(bound.model, "_buffers").items() if known is None or place in known}
        self._saved = vec.clone(list(self._held.values()))

    def finished(self) -> None:
        """Take note of what was written."""
        if self._key not in self._memory:
            pairs = zip(self._held.items(), self._saved, strict=True)
            now = places(self._model, "_buffers")
            written = {place for (place, b), saved in pairs if now.get(place) is not b or not b.equal(saved)}
            self._memory[self._key] = written

    @torch.no_grad()
    def restore(self) -> None:
        """Give all of them their values back; may be repeated."""
        now, parts = places(self._model, "_buffers"), modules(self._model)
        for (i, k), b in self._held.items():
            if now.get((i, k)) is not b:
                parts[i]._buffers[k] = b
        vec.copy_(list(self._held.values()), self._saved)
