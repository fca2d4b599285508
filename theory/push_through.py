"""G1, G2, G3. The full empirical-Fisher direction of the batch gradient is a re-weighted gradient, by one n × n solve.

J: (n, p), row i the gradient of sample i's own loss; K = JJᵀ; g = Jᵀ1/n; F = JᵀJ/n; λ > 0. Then (G2)
    (F + λI)⁻¹ g = Jᵀ (K + nλI)⁻¹ 1,        ‖g‖*² = ⟨g, (F + λI)⁻¹ g⟩ = (1/n) 1ᵀ K (K + nλI)⁻¹ 1.
Derivation: Jᵀ(JJᵀ + nλI) = (JᵀJ + nλI)Jᵀ, and both brackets are positive definite, so each goes to the other side,
inverted. Apply to 1; F + λI = (JᵀJ + nλI)/n supplies the 1/n of g. Pair with g for the norm.

G1: as λ → 0 with independent rows, ‖g‖* → 1, and ε = ρ ♯g/‖g‖* raises every sample's loss by ρ to first order: Jε → ρ1.
For K(K + nλI)⁻¹1 = 1 − nλ(K + nλI)⁻¹1, where the last term is no longer than nλ√n/(κ + nλ), κ the least eigenvalue of
K. With dependent rows ‖g‖* → ‖P1‖/√n, and the rises become proportional to P1, P the projector on the range of K.

G3: with independent rows the right side is accurate in float32 at every λ, for K + nλI is as well conditioned as K.
Textbook Woodbury, (g − Jᵀ(K + nλI)⁻¹Jg)/λ, and a dense solve of F + λI have errors that grow as 1/λ: g lies in the row
space, which neither of them uses, and rounding outside it is multiplied by 1/λ. With dependent rows push-through loses
digits too: where 1 has a part in ker K, (K + nλI)⁻¹1 has one of order 1/(nλ), which Jᵀ removes only to rounding. Hence
p < n, or samples whose gradients are parallel and unequal, need another solve at small λ.

Source: the identity is well known (Henderson and Searle, SIAM Review 1981); its use for SAM is ours.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import sympy as sp

from theory.claim import Claim
from theory.drawing import Axes
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge, undecided


def derive() -> dict[str, sp.Eq]:
    """The push-through at every size; for two samples the direction, the dual norm and the limits as λ → 0."""
    n, p = sp.symbols("n p", integer=True, positive=True)
    damping = sp.Symbol("lambda", positive=True)
    J = sp.MatrixSymbol("J", n, p)
    commute = prove(J.T * (J * J.T + n * damping * sp.Identity(n)), (J.T * J + n * damping * sp.Identity(p)) * J.T)

    J, one = sp.Matrix(2, 3, sp.symbols("j:6", real=True)), sp.ones(2, 1)
    gradient, fisher, gram = J.T * one / 2, J.T * J / 2, J * J.T
    weights = (gram + 2 * damping * sp.eye(2)).inv() * one
    direction = prove((fisher + damping * sp.eye(3)) * J.T * weights, gradient)
    square = (gradient.T * J.T * weights)[0]
    dual = prove(square, (one.T * gram * weights)[0] / 2)
    limit = prove(square.subs(damping, 0), sp.S(1)), prove((gram * weights).subs(damping, 0), one)

    ratio, length = sp.symbols("r l", positive=True)  # rows j and r·j, with ‖j‖² = l
    gram = length * sp.Matrix([[1, ratio], [ratio, ratio**2]])
    dependent = (one.T * gram * (gram + 2 * damping * sp.eye(2)).inv() * one)[0] / 2
    projected = prove(sp.cancel(dependent).subs(damping, 0), (1 + ratio) ** 2 / (2 * (1 + ratio**2)))
    return {
        r"J^\top (JJ^\top + n\lambda I) = (J^\top J + n\lambda I) J^\top": commute,
        r"(F + \lambda I)\, J^\top (K + n\lambda I)^{-1} \mathbf 1 = g": direction,
        r"\langle g, (F + \lambda I)^{-1} g\rangle = \tfrac1n \mathbf 1^\top K (K + n\lambda I)^{-1} \mathbf 1": dual,
        r"\lim_{\lambda\to0} \|g\|_*^2 = 1": limit[0],
        r"\lim_{\lambda\to0} J\epsilon = \rho\mathbf 1": limit[1],
        r"\lim_{\lambda\to0} \|g\|_*^2 = \frac{(1 + r)^2}{2(1 + r^2)} \text{ for rows } j,\ rj": projected,
    }


@dataclass(frozen=True)
class Instance:
    """jacobian: (n, p), float64, row i the gradient of sample i's own loss."""

    jacobian: np.ndarray

    def within(self, precision: type[np.floating], least: float) -> bool:
        """Whether squares of entries, their sum, and these times the least damping are finite normal numbers."""
        entries, limits = abs(self.jacobian[self.jacobian != 0]), np.finfo(precision)
        low, high = math.sqrt(limits.tiny / least), math.sqrt(limits.max * least / self.jacobian.size)
        return bool(((entries > low) & (entries < high)).all())

    @property
    def gram(self) -> np.ndarray:
        return self.jacobian @ self.jacobian.T

    @property
    def scale(self) -> float:
        """The largest eigenvalue of F, or 1 where F = 0: damping is given relative to it."""
        return float(np.linalg.norm(self.jacobian, 2) ** 2 / len(self.jacobian)) or 1.0

    @property
    def condition(self) -> float:
        """Of K: infinite, or past 1/eps, where the rows are dependent."""
        return float(np.linalg.cond(self.jacobian) ** 2) if self.jacobian.shape[0] <= self.jacobian.shape[1] else math.inf


def instance(seed: int) -> Instance:
    """2 to 6 Gaussian rows in 4 to 8 times as many dimensions, at a scale from 1e-3 to 1e3: well conditioned."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 7))
    return Instance(10 ** rng.uniform(-3, 3) * rng.normal(size=(n, n * int(rng.integers(4, 9)))))


def push_through(jacobian: np.ndarray, damping: float) -> np.ndarray:
    n = len(jacobian)
    return jacobian.T @ _solve(jacobian @ jacobian.T, n * damping, np.ones(n, jacobian.dtype))


def dense(jacobian: np.ndarray, damping: float) -> np.ndarray:
    return _solve(jacobian.T @ jacobian / len(jacobian), damping, jacobian.mean(0))


def woodbury(jacobian: np.ndarray, damping: float) -> np.ndarray:
    gradient = jacobian.mean(0)
    correction = jacobian.T @ _solve(jacobian @ jacobian.T, len(jacobian) * damping, jacobian @ gradient)
    return (gradient - correction) / jacobian.dtype.type(damping)


def _solve(matrix: np.ndarray, damping: float, right: np.ndarray) -> np.ndarray:
    """(matrix + damping·I)⁻¹ right in the matrix's own precision throughout; NaN where rounding left it singular."""
    try:
        return np.linalg.solve(matrix + matrix.dtype.type(damping) * np.eye(len(matrix), dtype=matrix.dtype), right)
    except np.linalg.LinAlgError:
        return np.full_like(right, np.nan)


def check(instance: Instance, altered: bool = False) -> Verdict:
    """G2 against the dense solve in float64, at λ from 1 to 1e-4 ‖F‖. Altered: λ in place of nλ.

    Errors are relative: of the direction to its length, of the squared dual norm to itself.
    """
    if not instance.within(np.float64, 1e-4):
        return undecided("rows whose products are finite normal numbers in float64")
    jacobian, gram, n = instance.jacobian, instance.gram, len(instance.jacobian)
    trials = []
    for relative in (1.0, 1e-2, 1e-4):
        damping = relative * instance.scale
        weights = _solve(gram, damping if altered else n * damping, np.ones(n))
        reference = dense(jacobian, damping)
        # Both systems have condition ≤ 1 + 1/relative; the error is relative to terms that may cancel in the sum.
        rounding = 64 * sum(jacobian.shape) * np.finfo(float).eps * (1 + 1 / relative)
        gradient, terms = jacobian.mean(0), np.linalg.norm(jacobian, 2) * math.hypot(*weights)
        for name, ours, other, size in (
            ("direction", jacobian.T @ weights, reference, terms),
            ("squared dual norm", gram.sum(0) @ weights / n, gradient @ reference, math.hypot(*gradient) * terms),
        ):
            length = math.hypot(*np.atleast_1d(other)) or 1.0  # without squares that overflow
            error = math.hypot(*np.atleast_1d(ours - other)) / length
            trials.append(Trial(error, rounding * size / length, f"{name} at λ = {damping:.3g}: relative error {error:.3g}"))
    return judge(trials)


def check_limit(instance: Instance, altered: bool = False) -> Verdict:
    """G1 at λ = 1e-4, 1e-8 and 1e-12 ‖F‖: |‖g‖* − 1| and |rise/ρ − 1| vanish with λ. Altered: λ → ∞ instead.

    Needs rows independent to working precision, cond(K) < 1e8. Errors are allowed n√n cond(K) λ/‖F‖, and rounding.
    """
    if not instance.within(np.float64, 1e-12):
        return undecided("rows whose products are finite normal numbers in float64")
    n, condition = len(instance.jacobian), instance.condition
    if not condition < 1e8:
        return undecided(f"independent rows: cond(K) = {condition:.3g}, and 1e8 is the most")
    trials = []
    for relative in (1e-4, 1e-8, 1e-12):
        damping = instance.scale / relative if altered else instance.scale * relative
        rises = instance.gram @ _solve(instance.gram, n * damping, np.ones(n))
        norm = math.sqrt(rises.mean())
        allowed = n * math.sqrt(n) * condition * relative + 64 * n * np.finfo(float).eps * condition
        values = {"‖g‖*": norm} | {f"rise of sample {i}, over ρ,": rise / norm for i, rise in enumerate(rises)}
        for name, value in values.items():
            trials.append(Trial(abs(value - 1), allowed, f"{name} is {value:.6g} at λ = {damping:.3g}, not 1 ± {allowed:.3g}"))
    return judge(trials)


class Errors(NamedTuple):
    """Relative errors of three ways to (F + λI)⁻¹g."""

    push_through: float
    woodbury: float
    dense: float


def float32_errors(instance: Instance, relative: float) -> Errors:
    """In float32 at λ = relative × ‖F‖, against a singular value decomposition in float64 of the same rounded rows."""
    single = instance.jacobian.astype(np.float32)
    damping = np.float32(relative * instance.scale)
    left, values, right = np.linalg.svd(single.astype(float), full_matrices=False)
    exact = right.T @ (values / (values**2 + len(single) * float(damping)) * left.sum(0))
    ways = (way(single, float(damping)) for way in (push_through, woodbury, dense))
    return Errors(*(float(np.linalg.norm(found - exact) / np.linalg.norm(exact)) for found in ways))


def check_float32(instance: Instance, altered: bool = False) -> Verdict:
    """G3 at λ from 1 to 1e-8 ‖F‖: the relative error stays under 64 n eps cond(K). Altered: of Woodbury.

    And from λ = 1e-2 to 1e-6 ‖F‖ both others grow 1e3- to 1e5-fold, to exceed it in the end. Where they do not, the rows say
    nothing about 1/λ: with p = n the row space is everything, and some sums are exact in any precision.
    """
    if not instance.within(np.float32, 1e-8):
        return undecided("rows whose products are finite normal numbers in float32")
    allowed = 64 * len(instance.jacobian) * float(np.finfo(np.float32).eps) * instance.condition
    if not allowed < 0.1:
        return undecided(f"independent rows: with cond(K) = {instance.condition:.3g} no digit is promised")
    trials = []
    found = {relative: float32_errors(instance, relative) for relative in (1.0, 1e-2, 1e-4, 1e-6, 1e-8)}
    for relative, errors in found.items():
        error = errors.woodbury if altered else errors.push_through
        trials.append(Trial(error, allowed, f"λ = {relative:g} ‖F‖: relative error {error:.3g}, and {allowed:.3g} is allowed"))
    for early, late, last in zip(*(found[relative][1:] for relative in (1e-2, 1e-6, 1e-8)), strict=True):
        lose = 1e3 * early < late < 1e5 * early and last > allowed
        if not (lose or any(trial.refuted for trial in trials)):
            return undecided("rows on which rounding shows: here Woodbury's or the dense solve's error does not grow as 1/λ")
    return judge(trials)


def draw(axes: Axes) -> None:
    """The relative error of three ways to (F + λI)⁻¹g in float32."""
    drawn, ladder = instance(0), 10.0 ** np.arange(-9, 1)
    errors = [float32_errors(drawn, relative) for relative in ladder]
    for name, values, style in zip(Errors._fields, zip(*errors, strict=True), ("o-", "s--", "^:"), strict=True):
        axes.loglog(ladder, values, style, label=name.replace("_", "-"))
    axes.set(xlabel="λ / ‖F‖", ylabel="relative error, float32")
    axes.legend()


CLAIMS = {
    "G1": Claim(
        source="geosam; docs/idea.md",
        text="as λ → 0 with independent rows, full empirical-Fisher SAM raises every sample's loss by ρ to first order",
        tex=r"\operatorname{rank} J = n \;\Rightarrow\; \lim_{\lambda\to0} J\epsilon^* = \rho\, \mathbf 1,"
        r"\quad \lim_{\lambda\to0} \|g\|_* = 1",
        outcome=Outcome.HOLDS,
        check=check_limit,
    ),
    "G2": Claim(
        source="Henderson and Searle 1981 (the identity); geosam (its use)",
        text="the full empirical-Fisher direction of the batch gradient is a re-weighted gradient, by an n × n solve",
        tex=r"(F + \lambda I)^{-1} g = J^\top (JJ^\top + n\lambda I)^{-1} \mathbf 1",
        outcome=Outcome.HOLDS,
        check=check,
    ),
    "G3": Claim(
        source="geosam; docs/idea.md",
        text="push-through is accurate in float32 at every damping, where the errors of Woodbury and a dense solve grow as 1/λ,"
        " for rows whose products are within float32's range",
        tex=r"\text{error of } J^\top (JJ^\top + n\lambda I)^{-1} \mathbf 1 \le c\,\varepsilon\,\mathrm{cond}(K)"
        r" \text{ for every } \lambda",
        outcome=Outcome.HOLDS,
        check=check_float32,
    ),
}
