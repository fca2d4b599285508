"""One cell of the table at one case: ε* from both sides, and how far the one is from the other moved along the map."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from theory.invariance import geometries as G
from theory.invariance.geometries import DAMPING, Step
from theory.invariance.kl_argmax import argmax, unbounded
from theory.invariance.sides import STEP, Array, Side
from theory.invariance.transformations import Case

YES, OUTPUTS, NO, NONE = "yes", "outputs", "no", "none"
FAR = 1e-3  # a gap this large is no rounding
BOUNDLESS = 1e6  # times what Fisher's ε* reaches
COMPARABLE = 1e-6  # larger tolerances decide nothing


@dataclass(frozen=True)
class Gap:
    """Relative distances of the two ε*, each with its tolerance: as they are, and in what they do to the outputs.

    direct: ε* at θ. pushed: ε* at φ, moved along. determined: whether ε* is, or ker F is larger than its column explains.
    rise: past BOUNDLESS where there is no argmax to compare.
    """

    tangent: float
    image: float
    allowed: tuple[float, float]
    direct: Array
    pushed: Array
    determined: bool = True
    rise: float = 0.0

    @property
    def answer(self) -> str | None:
        """What this case alone says; None where a distance is neither rounding nor far."""
        if self.rise >= BOUNDLESS:
            return NONE
        if self.tangent <= self.allowed[0]:
            return YES
        if self.image <= self.allowed[1]:
            return OUTPUTS if self.tangent >= FAR else None
        return NO if self.image >= FAR else None

    def __str__(self) -> str:
        if self.rise >= BOUNDLESS:
            return f"⟨g, ε⟩ reaches {self.rise:.3g} times that of Fisher's ε* within the KL ball"
        pushed, direct = (", ".join(f"{x:.4g}" for x in part) for part in (self.pushed, self.direct))
        return f"pushed forward ({pushed}), found there ({direct})"


@dataclass(frozen=True)
class Tangent:
    """ε*_θ against B ε*_φ, B = ∂θ/∂φ. rows: of the Jacobian of what F sees, the outputs or the samples' losses.

    straight: whether ε* is a point on a straight ray, at a finite step, which an unexplained kernel of F leaves open.
    """

    step: Callable[[Side], Step]
    rows: Callable[[Side], Array] = lambda side: side.white
    straight: bool = False

    def gap(self, case: Case) -> Gap | None:
        """None where ε* does not exist, or rounding hides it."""
        with np.errstate(all="ignore"):
            if not comparable(case):
                return None
            steps = self.step(case.new), self.step(case.old)
            if not all(step.condition < np.inf for step in steps) or steps[0].kernel != steps[1].kernel:
                return None
            determined, jacobian = steps[1].kernel in (0, case.kernel), self.rows(case.old)
            if self.straight and not determined:
                return None
            pushed = case.derivative @ steps[0].epsilon
            return compared(case, steps, pushed, (jacobian @ pushed, jacobian @ steps[1].epsilon), jacobian, determined)


@dataclass(frozen=True)
class Point:
    """f(φ + ε*_φ) against θ + ε*_θ: of an argmax the point transforms, not the difference to where it started."""

    linearised: bool

    def gap(self, case: Case) -> Gap | None:
        """None where no local argmax was found."""
        with np.errstate(all="ignore"):
            if not comparable(case):
                return None
            if self.linearised and case.kind.symmetry:
                rise = unbounded(case)
                return Gap(0.0, 0.0, (0.0, 0.0), case.theta, case.theta, rise=rise) if rise >= BOUNDLESS else None
            steps = argmax(case, self.linearised)
            if not all(step.condition < np.inf for step in steps):
                return None
            there = case.back(case.phi + steps[0].epsilon)
            moved = [case.old.predict(point) - case.old.here for point in (there, case.theta + steps[1].epsilon)]
            if case.kind.symmetry:  # the argmax is an orbit: another point of it, which is as good, stands for the rest
                there = case.kind.back(there, np.full(len(case.numbers), 2.0))
            return compared(case, steps, there - case.theta, (moved[0], moved[1]), case.old.white)


def compared(
    case: Case,
    steps: tuple[Step, Step],
    pushed: Array,
    moved: tuple[Array, Array],
    jacobian: Array,
    determined: bool = True,
) -> Gap | None:
    """The gap between ε* at φ, moved along, and ε* at θ; moved: what both do to the outputs. None where it decides nothing.

    The tolerance is what rounding may do to either ε*, first in its own parameters and then along the maps.
    """
    units, (new, old) = 64 * jacobian.size * float(np.finfo(float).eps), steps
    sizes, allowed = (_size(old.epsilon), _size(moved[1])), []
    if not (min(sizes) > 0 and np.isfinite(sizes).all()):
        return None
    for onto, size in zip((np.eye(len(pushed)), jacobian), sizes, strict=True):
        parts = (_size(onto @ case.derivative) * _size(new.epsilon) * new.condition, _size(onto) * sizes[0] * old.condition)
        allowed.append(units * sum(parts) / size)
    distances = _size(pushed - old.epsilon) / sizes[0], _size(moved[0] - moved[1]) / sizes[1]
    decides = max(allowed) < COMPARABLE
    return Gap(*distances, (allowed[0], allowed[1]), old.epsilon, pushed, determined) if decides else None


def _size(x: Array) -> float:
    return float(np.sqrt((x * x).sum()))


def comparable(case: Case) -> bool:
    """Whether there are numbers, and both sides agree to rounding on outputs: overflow and kinks of relu set them apart."""
    old, new = case.old, case.new
    if not all(np.isfinite(side.here).all() and np.isfinite(side.rows).all() for side in (old, new)):
        return False
    return bool(abs(old.here - new.here).max() <= 1e-9 * (1 + abs(old.here).max()))


def resolved(case: Case) -> bool:
    """Whether no column of the Jacobian is mere rounding: what it has along a unit's scale says how large that is."""
    for side in (case.old, case.new) if case.kind.symmetry else ():
        for unit in np.eye(len(case.numbers)):
            spin = case.kind.back(side.theta, 1 + 1j * STEP * unit).imag / STEP
            columns = np.linalg.norm(side.white[:, case.kind.back(np.ones_like(spin), 1 + unit) != 1], axis=0)
            noise = np.linalg.norm(side.white @ spin) / (np.linalg.norm(spin) or 1.0)
            if (columns[columns > 0] <= 1e6 * noise).any():
                return False
    return True


GEOMETRIES: dict[str, Tangent | Point] = {
    "euclidean": Tangent(G.euclidean),
    "parameter_scaled": Tangent(partial(G.parameter_scaled, eta=0.0, everywhere=True)),
    "parameter_scaled_weights": Tangent(partial(G.parameter_scaled, eta=0.0, everywhere=False)),
    "parameter_scaled_eta": Tangent(partial(G.parameter_scaled, eta=0.1, everywhere=True)),
    "gradient_magnitude": Tangent(partial(G.gradient_magnitude, damping=0.0)),
    "gradient_magnitude_damped": Tangent(partial(G.gradient_magnitude, damping=1.0)),
    "diagonal_empirical": Tangent(partial(G.diagonal_empirical, damping=0.0)),
    "diagonal_empirical_damped": Tangent(partial(G.diagonal_empirical, damping=DAMPING)),
    "diagonal_fisher": Tangent(G.diagonal_fisher),
    "empirical_fisher": Tangent(G.empirical_fisher, lambda side: side.rows),
    "empirical_fisher_damped": Tangent(partial(G.empirical_fisher, damping=DAMPING)),
    "empirical_fisher_relative": Tangent(partial(G.empirical_fisher, damping=DAMPING, relative=True)),
    "fisher": Tangent(G.fisher),
    "fisher_damped": Tangent(partial(G.fisher, damping=DAMPING)),
    "monge": Tangent(G.monge),
    "sup": Tangent(G.sup),
    "spectral": Tangent(G.spectral),
    "kl_ray": Tangent(G.kl_ray, straight=True),
    "kl_argmax_linearised": Point(linearised=True),
    "kl_argmax": Point(linearised=False),
}
