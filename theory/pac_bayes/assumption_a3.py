"""F6.22. The max-norm ‖M‖ = max |Mᵢⱼ| is not submultiplicative: ‖F̄D‖ ≤ k ‖F̄‖ ‖D‖, and the k is needed.

Claim: Kim et al., Fisher SAM, ICML 2022, eq. 22-23: with D = F(θ)⁻¹ − F̄⁻¹, ‖F̄F(θ)⁻¹ − I‖ = ‖F̄D‖ ≤ ‖F̄‖ ‖D‖, so that
r ≤ ε/(‖F̄‖ C₂) is enough for assumption A.3, |(F̄F(θ)⁻¹ − I)ᵢⱼ| ≤ ε.
Verdict: holds with a correction, a factor k: r ≤ ε/(k ‖F̄‖ C₂). It matters for the size of the bound: with r of order 1/k,
log J = k log(1 + 2B√Λ/r) (``covering``) is of order k log k, not k.

Derivation. |(F̄D)ᵢⱼ| = |Σₗ F̄ᵢₗ Dₗⱼ| has k terms; the ∞-norm keeps them together, ‖F̄D‖ ≤ maxᵢ Σₗ|F̄ᵢₗ| · ‖D‖ ≤ k ‖F̄‖ ‖D‖.
The k is attained in the limit by F̄ = 11ᵀ + δI, D = t11ᵀ, for 11ᵀ11ᵀ = k11ᵀ; D = t11ᵀ keeps F̄⁻¹ + D positive definite.
What eq. 29 takes from A.3 is only the trace, and that has a bound without coordinates: if (1−ε)F̄⁻¹ ⪯ F(θ)⁻¹ ⪯ (1+ε)F̄⁻¹,
then Tr F̄F(θ)⁻¹ ≤ k(1+ε) and, by Weyl, A.2 holds as well. A.3 in coordinates changes with them, this does not.
Assumptions: F̄ and F(θ) positive definite.
"""

from dataclasses import dataclass

import numpy as np
import sympy as sp

from theory.claim import Claim
from theory.drawing import Axes
from theory.pac_bayes.inputs import Matrix, definite, random_definite, rows
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge, undecided


def derive() -> dict[str, sp.Eq]:
    """Eq. 22's equality for 2 × 2 matrices; the factor k, attained; positivity of the F(θ) that attains it."""
    a, b, c, p, q, s = sp.symbols("a b c p q s", real=True)
    t, d = sp.symbols("t delta", positive=True)
    center, inverse = sp.Matrix([[a, b], [b, c]]), sp.Matrix([[p, q], [q, s]])
    equality = prove(center * inverse - sp.eye(2), center * (inverse - center.inv()))
    one = sp.ones(4, 1)
    extreme = one * one.T + d * sp.eye(4)
    product = extreme * t * one * one.T
    ratio = prove(product[0, 1] / ((1 + d) * t), (4 + d) / (1 + d))
    v = sp.Matrix(sp.symbols("v:4", real=True))
    positive = prove((v.T * t * one * one.T * v)[0], t * sum(v) ** 2)
    return {
        r"\bar F F^{-1} - I = \bar F\,(F^{-1} - \bar F^{-1})": equality,
        r"\frac{\|\bar F D\|}{\|\bar F\|\|D\|} = \frac{k+\delta}{1+\delta}, \quad \bar F = 11^\top + \delta I,"
        r"\ D = t\,11^\top,\ k = 4": ratio,
        r"v^\top D v = t\,(\textstyle\sum_i v_i)^2 \ge 0": positive,
    }


@dataclass(frozen=True)
class Instance:
    """center: F̄; change: D = F(θ)⁻¹ − F̄⁻¹, symmetric, with F̄⁻¹ + D positive definite."""

    center: Matrix
    change: Matrix

    def __post_init__(self) -> None:
        center = definite("center", self.center)
        if np.shape(self.change) != center.shape:
            raise ValueError("center and change are of different dimensions; pass one k for both.")
        inverse = np.linalg.inv(center)
        definite("F̄⁻¹ + change, the inverse of F(θ),", rows((inverse + inverse.T) / 2 + np.array(self.change, dtype=float)))


def instance(seed: int) -> Instance:
    """Parameters that are strongly correlated under F̄, and a change along the same direction: 2 to 6 of them."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(2, 7))
    signs = rng.choice([-1.0, 1.0], k)
    center = np.outer(signs, signs) + rng.uniform(0.05, 0.3) * random_definite(rng, k, 0.3)
    change = rng.uniform(0.1, 2) * np.outer(signs, signs) + 0.02 * random_definite(rng, k, 0.3)
    return Instance(rows(center), rows(change))


def largest(matrix: np.ndarray) -> float:
    """The max-norm."""
    return float(abs(matrix).max())


def check(instance: Instance, altered: bool = False) -> Verdict:
    """‖F̄D‖ over k‖F̄‖‖D‖, over the row-sum bound, and F̄F⁻¹ − I beside F̄D. Altered: without the k."""
    center, change = np.array(instance.center, dtype=float), np.array(instance.change, dtype=float)
    k, epsilon = len(center), float(np.finfo(float).eps)
    product, scale = center @ change, largest(center) * largest(change)
    if scale == 0:
        return undecided("a Fisher that changes: here A.3 holds with ε = 0")
    inverse = np.linalg.inv(center) + change
    deviation = largest(center @ inverse - np.eye(k) - product)
    found = largest(product) / scale
    row_sum = float(abs(center).sum(1).max()) / largest(center)
    slack = 8 * k * epsilon
    case = f"k = {k}: ‖F̄D‖ = {largest(product):.6g}, ‖F̄‖‖D‖ = {scale:.6g}"
    trials = [
        Trial(found / (1.0 if altered else k), 1 + slack, case),
        Trial(found / row_sum, 1 + slack, f"{case}, row sums {row_sum:.6g}"),
        Trial(
            deviation, 32 * k * epsilon * float(np.linalg.cond(center)) * (1 + scale * k), f"F̄F⁻¹ − I ≠ F̄D by {deviation:.3g}"
        ),
    ]
    return judge(trials, printed=[Trial(found, 1 + slack, case)])


def draw(axes: Axes) -> None:
    """‖F̄D‖/(‖F̄‖‖D‖) over k at random, and for the F̄ that attains the factor."""
    rng = np.random.default_rng(0)
    sizes = np.arange(2, 33, 2)
    for k in sizes:
        for _ in range(8):
            center, change = random_definite(rng, int(k)), random_definite(rng, int(k))
            axes.plot(k, largest(center @ change) / (largest(center) * largest(change)), "C0.", ms=4, alpha=0.6)
    axes.plot([], [], "C0.", label="F̄ and D at random")
    axes.plot(sizes, (sizes + 0.1) / 1.1, "C1o-", ms=3, label="F̄ = 11ᵀ + 0.1 I, D = t 11ᵀ")
    axes.plot(sizes, sizes, "k:", label="k")
    axes.axhline(1, color="C3", label="printed (eq. 22)")
    axes.set(xlabel="parameters k", ylabel="‖F̄D‖ / (‖F̄‖ ‖D‖)", yscale="log", ylim=(0.3, 600))
    axes.legend(loc="upper left")


CLAIMS = {
    "F6.22": Claim(
        source="Kim et al. 2022, eq. 22-23",
        text="in the max-norm ‖F̄(F⁻¹ − F̄⁻¹)‖ ≤ ‖F̄‖ ‖F⁻¹ − F̄⁻¹‖, so r ≤ ε/(‖F̄‖C₂) gives A.3",
        tex=r"\|\bar F(F^{-1} - \bar F^{-1})\| \le \|\bar F\|\,\|F^{-1} - \bar F^{-1}\|, \quad \|M\| = \max_{ij}|M_{ij}|",
        outcome=Outcome.CORRECTED,
        check=check,
        correction="a factor k: ‖F̄D‖ ≤ k ‖F̄‖ ‖D‖, so r ≤ ε/(k ‖F̄‖ C₂)",
        correction_tex=r"\|\bar F D\| \le k\,\|\bar F\|\,\|D\|",
        smallest=Instance(((1.0, 1.0), (1.0, 2.0)), ((0.0, 1.0), (1.0, 1.0))),
    ),
}
