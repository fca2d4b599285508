"""What was observed at θ in one pass. Immutable, and the only input of metrics and objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from torch import Tensor

from ..core import Brief, Vectors
from ..core import vectors as vec
from ..rows import Pulled
from .request import Needs, Request

T = TypeVar("T")


@dataclass(frozen=True)
class Observation(Brief):
    """The batch gradient at θ, and the value of each request: ``observation[request]``.

    parameters: θ, in optimizer order. gradient: g = ∇ of the batch mean loss; with per-sample gradients the pulled vector
    Jᵀ1/n. loss: the batch mean. names: the parameters', or None. found: request → value. origin: what was restricted.
    """

    parameters: Vectors
    gradient: Vectors
    loss: Tensor
    names: Sequence[str] | None = None
    found: Mapping[Request[Any], Any] = field(default_factory=dict)
    origin: Observation | None = field(default=None, repr=False)

    def __getitem__(self, request: Request[T]) -> T:
        """What was observed for this request. Raises: TypeError where it was not requested."""
        if request not in self.found:
            raise TypeError(
                f"this observation was not asked for {request!r}: a metric or objective names it in ``needs``, a property that "
                "gives (request,); elsewhere observe(problem.on(x, y), (request,))"
            )
        value: T = self.found[request]
        return value

    def holding(self, needs: Needs, who: str) -> Observation:
        """Itself, if it has all values needed; nothing can be added to an observation. Raises: TypeError."""
        for request in needs:
            if request not in self.found:
                raise TypeError(
                    f"{who} needs {request.lacking.partition(';')[0]}, and this observation does not hold {request!r}. "
                    "Pass problem.on(x, y), or observe with all that is needed: geosam.observe(problem.on(x, y), metric.needs)"
                )
        return self

    def restrict(self, index: Sequence[int]) -> Observation:
        """The observation of some of the parameters: what a block of a product geometry gets."""
        g = self.gradient
        return replace(
            self,
            parameters=[self.parameters[i] for i in index],
            gradient=g.restrict(index) if isinstance(g, Pulled) else [g[i] for i in index],
            names=None if self.names is None else [self.names[i] for i in index],
            found={request: request.restrict(value, index) for request, value in self.found.items()},
            origin=self.origin or self,
        )

    def owned(self) -> Observation:
        """With a gradient that no later pass overwrites."""
        lazy = isinstance(self.gradient, Pulled)
        return self if lazy else replace(self, gradient=vec.clone(self.gradient))

    def named(self) -> list[tuple[str | None, Tensor]]:
        """(name, parameter) pairs; the name is None where it is not known."""
        names: Sequence[str | None] = [None] * len(self.parameters) if self.names is None else self.names
        return list(zip(names, self.parameters, strict=True))

    @property
    def size(self) -> int:
        """P, the number of scalar parameters."""
        return vec.count(self.parameters)
