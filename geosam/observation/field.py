"""Fields over parameter space: the metric, whose value is a geometry, and the objective, whose value is a covector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import torch

from ..core import Divergence, Norm, Public, Vectors, check_instance
from ..core.undo import undisturbed
from ..problem import Bound
from .observation import Observation
from .observe import explain, observe
from .request import Needs, Request

State = Mapping[str, Any]
T_co = TypeVar("T_co", covariant=True)


class Field(Public, ABC, Generic[T_co]):
    """θ ↦ value, with frozen configuration; memory, if any, is explicit state that the optimizer saves.

    Implement ``local``; for a field with memory see :class:`Remembering`.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Raises: TypeError where ``needs`` is one request, or has a class among them."""
        super().__init_subclass__(**options)
        needs = vars(cls).get("needs")
        if isinstance(needs, Request) or (isinstance(needs, tuple) and any(isinstance(n, type) for n in needs)):
            raise TypeError(
                f"{cls.__name__}.needs is a tuple of requests, such as (PerSampleGradients(Auto()),); got {needs!r}"
            )

    @property
    def needs(self) -> Needs:
        """The requests that ``local`` reads from the observation, besides the gradient."""
        return ()

    @abstractmethod
    def local(self, observation: Observation) -> T_co:
        """The value at the observation's point, without memory."""

    def step(self, observation: Observation, state: State) -> tuple[T_co, State]:
        """The value at the observation's point given the state, and the next state. An empty state means the first step."""
        return self.local(observation), state

    def at(self, point: Bound | Observation) -> T_co:
        """The value at a bound problem (or at an observation of one, which torch.compile can trace), without memory."""
        if torch.compiler.is_compiling() and isinstance(point, Observation):
            return self.step(point.holding(self.needs, name_of(self)), {})[0]
        return self._at(point)

    @undisturbed
    def _at(self, point: Bound | Observation) -> T_co:
        return self.step(observe(point, self.needs, name_of(self)), {})[0]

    def explain(self, point: Bound) -> str:
        """What its engine would do for each parameter on this batch, and why, as a table to print."""
        return explain(point, self.needs, name_of(self))


class Remembering(Field[T_co]):
    """A field with memory, of its own or of its parts. Implement ``step``; ``local`` is the first one.

    In the state a list has one entry a parameter, in the observation's order, and follows its parameter from step to step: None
    stands for one without a past, such as a parameter that was frozen until now. Other values belong to all parameters together
    and end when these are not the same as before. No list without an entry, and no empty mapping, comes back.
    """

    def local(self, observation: Observation) -> T_co:
        """The value of a first step."""
        return self.step(observation, {})[0]

    @abstractmethod
    def step(self, observation: Observation, state: State) -> tuple[T_co, State]:
        """The value at the observation's point given the state, and the next state. An empty state means the first step."""


class Objective(Field[Vectors]):
    """θ ↦ the covector c of ε* = argmax ⟨c, ε⟩. ``local`` returns tensors in parameter order."""

    example: ClassVar[str] = "geosam.objectives.Gradient()"


class Metric(Field[Norm | Divergence]):
    """θ ↦ the norm or divergence whose ball of radius ``rho`` around θ is searched."""

    example: ClassVar[str] = "geosam.metrics.Euclidean()"


@dataclass(frozen=True)
class Constant(Metric):
    """The same norm at every θ."""

    norm: Norm

    def local(self, observation: Observation) -> Norm:
        """The norm. Raises: ValueError where it was made for other parameters, such as those of all groups together."""
        like = self.norm.like
        theirs, own = ([tuple(t.shape) for t in v] for v in (like or observation.parameters, observation.parameters))
        if theirs != own:
            raise ValueError(
                f"{name_of(self)} was made for parameters of shapes {theirs}, and is asked for {own}. A norm of all parameters "
                "has no part for a group or a block: use a metric, which is evaluated on each, or one rho for all groups."
            )
        return self.norm


def name_of(field: Field[Any]) -> str:
    """Its name in errors and tables: the class's, of a constant metric the norm's."""
    return type(field.norm if isinstance(field, Constant) else field).__name__


def as_metric(value: Any, name: str = "metric") -> Metric:
    """A metric as it is; a norm as a :class:`Constant` metric. Raises: TypeError for anything else."""
    if isinstance(value, Norm) and not isinstance(value, Metric):
        return Constant(value)
    check_instance(name, value, Metric)
    metric: Metric = value
    return metric
