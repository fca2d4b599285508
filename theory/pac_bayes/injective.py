"""F6a.INJECTIVE. A parametrisation without redundancy may still have a singular Fisher.

Claim: Kim et al., Fisher SAM, ICML 2022, footnote 6: a non-redundant parametrisation assures a positive definite Fisher.
Verdict: fails. y ∼ N(θ³, 1): no two θ give the same distribution, yet F(θ) = 9θ⁴ vanishes at θ = 0. What it takes is an
immersion: distinct parameters to first order, that is, independent scores.

Derivation. The score of N(f(θ), I) is f′(θ)ᵀ(y − f), so F = f′ᵀf′, and KL(p_{θ+ε} ‖ p_θ) = ½‖f(θ+ε) − f(θ)‖². For
f = M (θ−c)^q, q odd and M invertible, f is one-to-one, for x ↦ x^q is increasing; f′ = M diag(q(θ−c)^{q−1}) has a zero column
wherever a θᵢ = cᵢ. There KL is positive, of order ε^{2q}, and εᵀFε = 0: eq. 8 lets ε go to infinity, eq. 6 does not.
Assumptions: none; a neighbourhood of such a θ has F > 0 but no positive lower bound for its eigenvalues, and A.1 asks for one.
"""

from dataclasses import dataclass

import numpy as np
import sympy as sp

from theory.claim import Claim
from theory.drawing import Axes
from theory.normal import average
from theory.pac_bayes.inputs import Matrix, Vector, count, finite, rows
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge, undecided


def derive() -> dict[str, sp.Eq]:
    """F of N(θ³, 1) from its score, by integration; KL by integration; the order at which KL sees θ = 0."""
    y, theta, eps = sp.symbols("y theta epsilon", real=True)
    score = (-((y - theta**3) ** 2) / 2).diff(theta)
    other = (theta + eps) ** 3
    log_ratio = (-((y - other) ** 2) + (y - theta**3) ** 2) / 2
    kl = average(log_ratio.subs(y, y + other), y)
    return {
        r"F(\theta) = 9\theta^4, \quad y\sim N(\theta^3, 1)": prove(average((score**2).subs(y, y + theta**3), y), 9 * theta**4),
        r"\mathrm{KL}(p_{\theta+\epsilon}\|p_\theta) = \tfrac12\bigl((\theta+\epsilon)^3 - \theta^3\bigr)^2": prove(
            kl, (other - theta**3) ** 2 / 2
        ),
        r"\mathrm{KL}(p_\epsilon\|p_0) = \tfrac12\epsilon^6 > 0 = \epsilon^2 F(0)": prove(kl.subs(theta, 0), eps**6 / 2),
    }


@dataclass(frozen=True)
class Instance:
    """y ∼ N(M(θ−c)^q, I). point: θ; center: c; mixing: M; power: q, odd."""

    point: Vector
    center: Vector
    mixing: Matrix
    power: int

    def __post_init__(self) -> None:
        if count("power", self.power) % 2 == 0:
            raise ValueError(f"power = {self.power} is even, and θ and 2c − θ are then one distribution; pass an odd one.")
        M, k = np.array(self.mixing, dtype=float), len(finite("point", self.point))
        if len(finite("center", self.center)) != k or M.shape != (k, k) or k == 0:
            raise ValueError("point, center and mixing are of different dimensions; pass one k for all three.")
        if not np.isfinite(M).all() or not np.linalg.cond(M) < 1e8:
            raise ValueError("mixing is singular: two parameters would share a distribution; pass an invertible matrix.")


def instance(seed: int) -> Instance:
    """One to four parameters of which at least one sits where its score vanishes; cubes or fifth powers."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 5))
    center, point = rng.normal(size=k), rng.normal(size=k)
    idle = rng.random(k) < 0.4
    idle[rng.integers(k)] = True
    mixing = np.linalg.qr(rng.normal(size=(k, k)))[0] * rng.uniform(0.5, 2, k)
    point = np.where(idle, center, point)
    return Instance(tuple(point.tolist()), tuple(center.tolist()), rows(mixing), int(rng.choice([3, 5])))


def mean(instance: Instance, point: np.ndarray) -> np.ndarray:
    """f(θ)."""
    return np.array(instance.mixing, dtype=float) @ (point - np.array(instance.center)) ** instance.power


def fisher(instance: Instance, point: np.ndarray) -> np.ndarray:
    """f′ᵀf′."""
    slope = instance.power * (point - np.array(instance.center, dtype=float)) ** (instance.power - 1)
    jacobian = np.array(instance.mixing, dtype=float) * slope
    return jacobian.T @ jacobian


def check(instance: Instance, altered: bool = False) -> Verdict:
    """The least εᵀFε over the parameters' axes, over 2 KL(p_{θ+ε} ‖ p_θ): strictly positive if F is. Error 1: it is zero.

    Altered: an immersion, the same model half a unit off every c.
    """
    point = np.array(instance.point, dtype=float)
    if altered:
        point = np.array(instance.center, dtype=float) + 0.5
    F = fisher(instance, point)
    steps = np.eye(len(point)) * 0.5
    distance = np.array([((mean(instance, point + step) - mean(instance, point)) ** 2).sum() for step in steps])
    if not (distance > 0).all():
        return undecided("a step that changes the mean in float64")
    shares = np.diag(steps @ F @ steps.T) / distance
    axis, share = int(shares.argmin()), float(shares.min())
    seen = f"KL = {distance[axis] / 2:.4g} half a unit along parameter {axis}"
    case = f"k = {len(point)}, q = {instance.power}: {seen}, yet εᵀFε = {share * distance[axis]:.4g}"
    if 0 < share < 1e-9:
        return undecided("a parameter at its c, or clearly off it")
    return judge([Trial(1 - min(share, 1), 1 - 1e-9, case)])


def draw(axes: Axes) -> None:
    """KL from θ = 0 in y ∼ N(θ³, 1), and in an immersed model beside it; F sees nothing of the first."""
    eps = np.linspace(-1, 1, 81)
    axes.plot(eps, eps**6 / 2, "C0", label="KL of N(θ³, 1) from θ = 0")
    axes.plot(eps, 0 * eps, "C3", label="½ εᵀF(0)ε = 0")
    axes.plot(eps, eps**2 / 2, "k:", label="both, of N(θ, 1)")
    axes.set(xlabel="ε", ylabel="nats", ylim=(-0.03, 0.75))
    axes.legend(loc="upper center")


CLAIMS = {
    "F6a.INJECTIVE": Claim(
        source="Kim et al. 2022, footnote 6",
        text="a non-redundant parametrisation assures a strictly positive definite Fisher",
        tex=r"\theta\ne\theta' \Rightarrow p_\theta\ne p_{\theta'} \quad\Longrightarrow\quad F(\theta)\succ 0",
        outcome=Outcome.FAILS,
        check=check,
        correction="it takes independent scores, an immersion: N(θ³, 1) is one-to-one, with F(0) = 0",
        correction_tex=r"F(\theta)\succ 0 \iff \nabla\log p \text{ has linearly independent entries; }"
        r" N(\theta^3, 1):\ F = 9\theta^4",
        smallest=Instance((0.0,), (0.0,), ((1.0,),), 3),
    ),
}
