"""The nouns of the library: fields over parameter space, the norms and divergences they yield, and solvers.

A *field* is evaluated at a point θ: a :class:`Metric` gives the geometry there, an :class:`Objective` the covector to ascend.
A new kind writes one to two methods; everything else is derived.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from . import _vectors as vec
from ._vectors import Vectors

if TYPE_CHECKING:
    from .evidence import Evidence
    from .norms.kronecker import Factors
    from .problem import Bound
    from .randomness import Replay
    from .rows import Engine
    from .sampling import Draws

State = Mapping[str, Any]
Normal = Callable[[Sequence[int]], Tensor]
"""Shape ↦ standard normal noise, float64."""
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Needs:
    """What a field must be shown at θ, beside the batch gradient that everybody gets.

    rows: the engine that captures per-sample gradients. squares: the engine that captures (1/n) Σ gᵢ². predictive: the model's
    predictive distribution at θ and around it. draws: rows of labels that the model itself might give, each request with its
    own. factors: Kronecker factors, likewise.
    """

    rows: Engine | None = None
    squares: Engine | None = None
    predictive: bool = False
    draws: tuple[Draws, ...] = ()
    factors: tuple[Factorising, ...] = ()

    def __or__(self, other: Needs) -> Needs:
        return Needs(
            self.rows or other.rows,
            self.squares or other.squares,
            self.predictive or other.predictive,
            tuple(dict.fromkeys(self.draws + other.draws)),
            tuple(dict.fromkeys(self.factors + other.factors)),
        )


class Factorising(Protocol):
    """A way to Kronecker factors, hashable."""

    def looking(self) -> AbstractContextManager[None]:
        """A context in which it leaves no trace on a generator of its own."""

    def factors(self, bound: Bound, parameters: Vectors, replay: Replay) -> Factors:
        """Of the Fisher information at the parameters as they are, for the random numbers of ``replay``."""


class Point(Protocol):
    """A place in parameter space that can be asked for evidence: a bound problem, or evidence itself."""

    def collect(self, needs: Needs, who: str) -> Evidence:
        """Evidence that holds at least ``needs``; TypeError naming cause and cure where that cannot be."""


class Field(ABC, Generic[T_co]):
    """θ ↦ value, with frozen configuration; memory, if any, is explicit state that the optimizer saves.

    Write ``local``. A field with memory overrides ``step`` as well and returns its next state.
    """

    @property
    def needs(self) -> Needs:
        """What ``local`` reads from the evidence."""
        return Needs()

    @abstractmethod
    def local(self, evidence: Evidence) -> T_co:
        """The value at the evidence's point, without memory."""

    def step(self, evidence: Evidence, state: State) -> tuple[T_co, State]:
        """The value at the evidence's point given the state, and the next state. An empty state means the first step."""
        return self.local(evidence), state

    def at(self, point: Point) -> T_co:
        """The value at a bound problem (or at evidence already collected), without memory."""
        return self.step(point.collect(self.needs, type(self).__name__), {})[0]


class Objective(Field[Vectors]):
    """θ ↦ the covector c that ε* ascends. ``local`` returns tensors in parameter order."""


class Metric(Field["Norm | Divergence"]):
    """θ ↦ the norm or divergence whose ball of radius ``rho`` around θ is searched."""


class Norm(Metric):
    """A norm on tangent vectors with its duality map ♯. The same at every θ, it is its own (constant) metric.

    ♯ is homogeneous of degree 1 with ⟨c, ♯c⟩ = ‖♯c‖² = ‖c‖*². Write ``ascend`` and ``norm``.
    """

    like: Vectors | None = None
    """Tensors with the shapes, type and device of the space; None if the norm fits every space."""

    @abstractmethod
    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(♯c, ‖c‖*), the pair that a solver uses: ε* = ρ ♯c / ‖c‖*. ♯c may share memory with c.

        An inexact ♯ returns the primal norm ‖♯c‖ in the second place, so that ‖ε*‖ = ρ holds whatever the tolerance.
        """

    @abstractmethod
    def norm(self, v: Vectors) -> Tensor:
        """‖v‖, a 0-dimensional float64 tensor."""

    def ascend_into(self, out: Vectors | None, c: Vectors) -> tuple[Vectors, Tensor]:
        """``ascend``, where ♯c may be put into ``out`` instead of fresh memory; c is left alone."""
        return self.ascend(c)

    @property
    def report(self) -> Mapping[str, Any]:
        """What an iterative norm has to say of its last ``ascend``: iterations, residual, whether it converged."""
        return {}

    def sharp(self, c: Vectors) -> Vectors:
        """♯c: the direction of steepest ascent, with ‖♯c‖ = ‖c‖*."""
        return self.ascend(c)[0]

    def dual_norm(self, c: Vectors) -> Tensor:
        """‖c‖* = max ⟨c, v⟩ over ‖v‖ ≤ 1, a 0-dimensional float64 tensor."""
        return self.ascend(c)[1]

    def local(self, evidence: Evidence) -> Norm:
        """Itself: constant over parameter space."""
        return self


class InnerProduct(Norm):
    """A norm from a symmetric positive-definite G: ‖v‖² = ⟨Gv, v⟩ and ♯c = G⁻¹c. Write ``sharp`` and ``flat``.

    ``ascend`` may be replaced where ♯c and ‖c‖* share work.
    """

    @abstractmethod
    def sharp(self, c: Vectors) -> Vectors:
        """♯c = G⁻¹c."""

    @abstractmethod
    def flat(self, v: Vectors) -> Vectors:
        """♭v = Gv."""

    def inner(self, u: Vectors, v: Vectors) -> Tensor:
        """⟨Gu, v⟩, a 0-dimensional float64 tensor."""
        return vec.dot(self.flat(u), v)

    def norm(self, v: Vectors) -> Tensor:
        """‖v‖ = √⟨Gv, v⟩."""
        return self.inner(v, v).clamp_min(0).sqrt()

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(G⁻¹c, √⟨c, G⁻¹c⟩)."""
        v = self.sharp(c)
        return v, vec.dot(c, v).sqrt()

    def sample(self, generator: torch.Generator, like: Vectors | None = None) -> list[Tensor]:
        """A draw ε ~ N(0, G⁻¹), with E‖ε‖_G² = P; for radius ρ multiply by ρ.

        generator: the only source of randomness; noise is drawn on its device, in float64. like: tensors with the shapes,
        type and device wanted, by default those of the norm. Raises: ValueError where neither is known;
        NotImplementedError where the norm has no ``coloured``.
        """
        space = self.like if like is None else like
        if space is None:
            raise ValueError(f"{type(self).__name__} fits every space: pass like=, tensors with the shapes of the draw")
        device = space[0].device

        def normal(shape: Sequence[int]) -> Tensor:
            noise = torch.randn(tuple(shape), generator=generator, device=generator.device, dtype=torch.float64)
            return noise.to(device)

        return [v.to(t.device, t.dtype) for v, t in zip(self.coloured(normal, space), space, strict=True)]

    def coloured(self, normal: Normal, like: Vectors) -> Vectors:
        """Az with AAᵀ = G⁻¹, linear in the noise z that ``normal`` gives, in float64. Optional: ``sample`` rests on it."""
        raise NotImplementedError(f"{type(self).__name__} cannot be sampled: no A with AAᵀ = G⁻¹ is known to it. {_CLOSED}")

    def logdet(self) -> Tensor:
        """log det G, a 0-dimensional float64 tensor. Optional."""
        raise NotImplementedError(f"{type(self).__name__} has no log-determinant: its matrix is not factorised. {_CLOSED}")


_CLOSED = "norms.Identity, Diagonal, RankOne and LowRank have it: use e.g. metrics.EmpiricalFisher() or Monge()."


class Divergence(ABC):
    """D(ε) ≥ 0 with D(0) = 0 and ∇D(0) = 0, and the norm along whose ε* its budget D(ε) ≤ ρ²/2 is met."""

    along: Norm

    @abstractmethod
    def __call__(self, epsilon: Vectors) -> Tensor:
        """D(ε), a 0-dimensional float64 tensor."""

    def gradient(self, epsilon: Vectors) -> Vectors:
        """∇D(ε), float64. Here by central differences of fourth order, 4P evaluations: replace it where D can be derived."""
        flat = vec.flatten(epsilon).double()
        # D varies on the scale of ε itself: rounding and truncation both stay near 1e-7 where D is computed to 1e-16
        step = 1e-3 * float(flat.abs().amax())
        slope = torch.zeros_like(flat)
        for i in range(len(flat) if step else 0):
            unit = torch.zeros_like(flat)
            unit[i] = step
            ahead, far = (
                float(self(self._at(flat + k * unit, epsilon)) - self(self._at(flat - k * unit, epsilon))) for k in (1, 2)
            )
            slope[i] = (8 * ahead - far) / (12 * step)
        return vec.unflatten(slope, epsilon)

    @staticmethod
    def _at(flat: Tensor, like: Vectors) -> list[Tensor]:
        return [v.to(t.dtype) for v, t in zip(vec.unflatten(flat, like), like, strict=True)]

    def visit(self, direction: Vectors, scale: Tensor, keep: bool) -> tuple[Tensor, Landing | None]:
        """D at ε = scale · direction; with ``keep`` also the forward pass that found it, where there was one."""
        return self(vec.scale(direction, scale)), None

    @abstractmethod
    def local_norm(self, damping: float) -> InnerProduct:
        """The inner product with G = ∇²D(0) + damping · I. Undamped it is a seminorm: ``flat`` works, ``sharp`` does not."""


@dataclass(frozen=True)
class Landing:
    """A forward pass at θ + ε with its graph. parameters: its leaves, θ + ε; outputs: the model's."""

    parameters: Vectors
    outputs: Tensor


@dataclass(frozen=True)
class Perturbation:
    """ε* = scale · direction, as solved; the product is formed only when asked for.

    dual_norm: ‖c‖*. radius: the norm (or √(2D)) that ε* reaches. finite: whether c and what was made of it is finite; if not,
    or if c = 0, then ε* = 0. landing: the solver's own forward pass at θ + ε*, if it was asked to keep it. All scalars are
    0-dimensional tensors on the device.
    """

    direction: Vectors
    scale: Tensor
    dual_norm: Tensor
    radius: Tensor
    finite: Tensor
    report: Mapping[str, Any] = field(default_factory=dict)
    landing: Landing | None = None

    @property
    def epsilon(self) -> list[Tensor]:
        """ε*, a list of tensors in parameter order, computed at each access."""
        return vec.keep(self.finite, vec.scale(self.direction, self.scale))


class Solver(ABC):
    """Finds ε* for a covector c in the ball of radius rho."""

    @abstractmethod
    def solve(self, geometry: Norm | Divergence, c: Vectors, rho: float) -> Perturbation:
        """ε* with ‖ε*‖ ≤ rho (for a divergence D(ε*) ≤ rho²/2)."""


def check_instance(name: str, value: Any, kind: type) -> None:
    """TypeError unless value is an instance: the class itself is a common slip."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be an instance of {kind.__name__}, e.g. with () behind its name; got {value!r}")
