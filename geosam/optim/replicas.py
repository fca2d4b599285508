"""The DistributedDataParallel that reduces some parameters' gradients: a problem's model, or around what a closure runs."""

from __future__ import annotations

from typing import Any
from weakref import ref

from torch.nn.parallel import DistributedDataParallel

from ..core import Vectors
from ..problem import Bound, Together
from ..problem.places import same_objects
from .holders import alive
from .processes import processes, wrapper


class Replicas:
    """Knows the wrapper around an optimizer's parameters, looked for once as long as they are the same and it lives."""

    def __init__(self) -> None:
        self._known: Vectors = []
        self._found: ref[DistributedDataParallel] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Replicas, ()

    def around(self, source: Bound | Together | None, parameters: Vectors) -> DistributedDataParallel | None:
        """The wrapper of a problem's model, else the one that holds the parameters; None in one process, and without one."""
        if processes() == 1:
            return None
        given = None if source is None else wrapper(source.parts[0].model)
        if given is not None:
            return given
        found = None if self._found is None else self._found()
        if not same_objects(self._known, parameters) or (found is None and self._found is not None):
            self._known, ids = parameters, {id(p) for p in parameters}
            held = [w for w in alive(DistributedDataParallel) if any(id(p) in ids for p in w.parameters())]
            found = held[-1] if held else None
            self._found = None if found is None else ref(found)
        return found
