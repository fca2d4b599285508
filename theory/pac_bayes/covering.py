"""F6.16, F6.16.B. How many Fisher ellipsoids cover Θ, and what the diameter of Θ says about the size of its members.

Claim F6.16: Kim et al., Fisher SAM, ICML 2022, assumption A.1: vol(Rⱼ) ∝ rᵏ|F|^−½, hence J = O(Bᵏ/rᵏ) ellipsoids
Rⱼ = {‖θ−θ̄ⱼ‖_F ≤ r} cover Θ of diameter B, and log J = O(k).
Verdict: holds for fixed geometry, as every O(·) here is read (``final_step``): J ≤ (cB/r)ᵏ with c = 2√Λ + r/B, that is
log J ≤ k log(1 + 2B√Λ/r), Λ the largest eigenvalue of F on Θ. The constant hides |F|^½, which the proportionality has and
the count has not, and the reason given does not prove it: a ratio of volumes bounds J from below, not from above. log J =
O(k) takes B√Λ/r fixed; where A.3 makes r shrink as 1/k (``assumption_a3``), log J is O(k log k).
Claim F6.16.B: the same place: diam Θ ≤ B, thus ‖θ‖ ≤ B on Θ.
Verdict: holds with a correction, ‖θ‖ ≤ B + dist(0, Θ); the printed one takes 0 ∈ Θ. The proof never uses it.

Derivation. The Euclidean ball of radius s = r/√Λ around θ̄ lies in R(θ̄), as ‖·‖²_F ≤ Λ‖·‖². Take a largest subset of Θ with
distances > s: every θ is within s of one of its points (else add θ), so the ellipsoids there cover Θ. Balls of radius s/2
around them are disjoint and lie in one of radius B + s/2, so there are at most ((B + s/2)/(s/2))ᵏ of them. Conversely
J vol(R) ≥ vol(Θ), that is J ≥ vol(Θ) |F|^½ / (Vₖrᵏ) for constant F, Vₖ = π^{k/2}/Γ(k/2+1).
Assumptions: F ⪯ ΛI on Θ. The instances take Θ a cube and F constant on it (a location family), where nothing else varies.
"""

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import sympy as sp

from theory.claim import Claim
from theory.drawing import Axes
from theory.pac_bayes.inputs import Matrix, Vector, count, definite, finite, positive, random_definite, rows
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge, undecided


def derive() -> dict[str, sp.Eq]:
    """The volume of an ellipse, and the packing count in three dimensions, by integration; the ball inside the ellipse."""
    x = sp.Symbol("x", real=True)
    r, p, q, s, B, L = sp.symbols("r p q s B Lambda", positive=True)
    chord = 2 * sp.sqrt(r**2 - p * x**2) / sp.sqrt(q)
    area = sp.simplify(sp.integrate(chord, (x, -r / sp.sqrt(p), r / sp.sqrt(p))))
    v = sp.Matrix(sp.symbols("v:2", real=True))
    F = sp.diag(p, q)  # a rotation changes no side: the diagonal case is the general one
    within = prove((L * v.T * v - v.T * F * v)[0], (L - p) * v[0] ** 2 + (L - q) * v[1] ** 2)
    ball = sp.integrate(sp.pi * (r**2 - x**2), (x, -r, r))
    packed = (ball.subs(r, B + s / 2) / ball.subs(r, s / 2)).subs(s, r / sp.sqrt(L))
    return {
        r"\mathrm{vol}\{\theta^\top F\theta \le r^2\} = \pi r^2 |F|^{-1/2}, \quad k=2": prove(
            area, sp.pi * r**2 / sp.sqrt(F.det())
        ),
        r"\Lambda\|v\|^2 - \|v\|_F^2 = \textstyle\sum_i(\Lambda-\lambda_i)\,v_i^2": within,
        r"\frac{\mathrm{vol}\{\|v\|\le B + s/2\}}{\mathrm{vol}\{\|v\|\le s/2\}} ="
        r" \Bigl(1 + \frac{2B\sqrt\Lambda}{r}\Bigr)^3, \quad s = r/\sqrt\Lambda,\ k=3": prove(
            packed, (1 + 2 * B * sp.sqrt(L) / r) ** 3
        ),
    }


@dataclass(frozen=True)
class Instance:
    """Θ: the cube from ``corner`` with edges ``side``; fisher: F on Θ; radius: r."""

    corner: Vector
    side: float
    radius: float
    fisher: Matrix

    def __post_init__(self) -> None:
        for name in ("side", "radius"):
            positive(name, getattr(self, name))
        if len(finite("corner", self.corner)) != len(definite("fisher", self.fisher)):
            raise ValueError("corner and fisher are of different dimensions; pass one k for both.")

    @property
    def dimension(self) -> int:
        return len(self.corner)

    @property
    def diameter(self) -> float:
        """B of the cube."""
        return self.side * math.sqrt(self.dimension)


def instance(seed: int) -> Instance:
    """A cube in 1 to 3 dimensions, away from the origin, and a Fisher that takes many ellipsoids."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 4))
    side = float(rng.uniform(0.5, 3))
    radius = side * float(rng.uniform(0.05, 0.5))
    fisher = random_definite(rng, k, 0.5) * 10 ** rng.uniform(3, 7)
    corner = np.where(rng.random(k) < 0.5, -1, 1) * rng.uniform(1, 4, k) * side * math.sqrt(k)
    return Instance(tuple(corner.tolist()), side, radius, rows(fisher))


def log_cover(dimension: int, diameter: float, largest: float, radius: float) -> float:
    """The bound k log(1 + 2B√Λ/r) of log J."""
    for name, value in (("diameter", diameter), ("largest", largest), ("radius", radius)):
        positive(name, value)
    return count("dimension", dimension) * math.log1p(2 * diameter * math.sqrt(largest) / radius)


def log_volume_ratio(instance: Instance) -> float:
    """log vol(Θ)/vol(R): no cover has fewer members."""
    k = instance.dimension
    ball = k / 2 * math.log(math.pi) - math.lgamma(k / 2 + 1)
    ellipsoid = ball + k * math.log(instance.radius) - np.linalg.slogdet(np.array(instance.fisher))[1] / 2
    return k * math.log(instance.side) - float(ellipsoid)


def grid(instance: Instance, largest: float) -> tuple[int, float]:
    """(cells an axis, largest ‖θ−θ̄‖_F over a cell): cells whose corners are within r/√largest of their centres."""
    cells = max(1, math.ceil(instance.diameter * math.sqrt(largest) / (2 * instance.radius)))
    corners = np.array(list(product((-1, 1), repeat=instance.dimension))) * instance.side / (2 * cells)
    return cells, math.sqrt(float(np.einsum("ci,ij,cj->c", corners, np.array(instance.fisher), corners).max()))


def log_separated(instance: Instance, largest: float) -> float:
    """log of how many points of Θ, in rows, are r/√largest apart or more: what the bound is derived for."""
    return instance.dimension * math.log1p(math.floor(instance.side * math.sqrt(largest) / instance.radius))


def check(instance: Instance, altered: bool = False) -> Verdict:
    """F6.16 by a cover that is built and checked at its farthest points, and by points that are r/√Λ apart.

    The first error is the farthest point's ‖θ−θ̄‖_F over r, the others are differences of log counts. Altered: a quarter of
    the constant, (1 + ½B√Λ/r)ᵏ; that many points in rows are more.
    """
    k, largest = instance.dimension, float(np.linalg.eigvalsh(np.array(instance.fisher))[-1])
    ratio = instance.diameter * math.sqrt(largest) / instance.radius
    if not (1e-300 < ratio < 1e300 and 1e-300 < instance.radius**2 < 1e300):
        return undecided("an r for which float64 can count how often it fits into Θ")
    cells, far = grid(instance, largest)
    built, least, separated = k * math.log(cells), log_volume_ratio(instance), log_separated(instance, largest)
    bound = log_cover(k, instance.diameter / (4 if altered else 1), largest, instance.radius)
    rounding = 1e-12 * (1 + abs(built) + abs(least) + abs(separated))
    count = f"(1 + {'½' if altered else '2'}B√Λ/r)^k = e^{bound:.4g}"
    trials = [
        Trial(
            far / instance.radius, 1 + 1e-12 * k, f"k = {k}, J = {cells}^{k}: a point lies {far / instance.radius:.4g} r away"
        ),
        Trial(built - bound, rounding, f"k = {k}: J = {cells}^{k} > {count}"),
        Trial(separated - bound, rounding, f"k = {k}: e^{separated:.4g} points are r/√Λ apart, more than {count}"),
        Trial(least - built, rounding, f"J = {cells}^{k}, yet the volumes ask for e^{least:.4g}"),
    ]
    return judge(trials)


def check_diameter(instance: Instance, altered: bool = False) -> Verdict:
    """F6.16.B at the cube's nearest and farthest points; errors are over B. Altered: ‖θ‖ ≤ dist(0, Θ)."""
    low = np.array(instance.corner, dtype=float)
    high = low + instance.side
    farthest = float(np.linalg.norm(np.maximum(abs(low), abs(high))))
    nearest = float(np.linalg.norm(np.clip(0, low, high)))
    diameter, rounding = instance.diameter, 1e-12 * (1 + farthest / instance.diameter)
    if not np.all(high > low):
        return undecided("an edge that rounding leaves apart from its corner")
    ours = (farthest - nearest - (0 if altered else diameter)) / diameter
    case = f"B = {diameter:.4g}: a θ of length {farthest:.4g}"
    return judge([Trial(ours, rounding, case)], printed=[Trial((farthest - diameter) / diameter, rounding, case)])


def draw(axes: Axes) -> None:
    """In one dimension over √F: how many intervals it takes, our bound, and B/r, which needs a constant that knows F."""
    scales = np.geomspace(1, 1e3, 40)
    unit = Instance((0.0,), 1.0, 0.1, ((1.0,),))
    cases = [replace(unit, fisher=((float(scale) ** 2,),)) for scale in scales]
    axes.loglog(scales, [math.exp(log_cover(1, 1.0, float(s) ** 2, 0.1)) for s in scales], "C2--", label="1 + 2B√Λ/r")
    axes.loglog(scales, [grid(case, case.fisher[0][0])[0] for case in cases], "C0", label="J that covers Θ = [0, 1]")
    axes.loglog(scales, np.full(len(scales), 10.0), "C3", label="B/r without a constant")
    axes.set(xlabel="√F", ylabel="ellipsoids, k = 1, r = 0.1")
    axes.legend(loc="upper left")


CLAIMS = {
    "F6.16": Claim(
        source="Kim et al. 2022, assumption A.1 (eq. 16)",
        text="J = O(Bᵏ/rᵏ) Fisher ellipsoids of size r cover Θ of diameter B, log J = O(k), the O for fixed geometry:"
        " log J ≤ k log(1 + 2B√Λ/r), Λ the largest eigenvalue of F on Θ",
        tex=r"J = O(\max_j B^k/r_j^k),\ \log J = O(k): \quad \log\frac{\mathrm{vol}(\Theta)}{\mathrm{vol}(R)} \le \log J"
        r" \le k\log\Bigl(1 + \frac{2B\sqrt\Lambda}{r}\Bigr)",
        outcome=Outcome.HOLDS,
        check=check,
    ),
    "F6.16.B": Claim(
        source="Kim et al. 2022, assumption A.1",
        text="diam(Θ) ≤ B, thus ‖θ‖ ≤ B",
        tex=r"\mathrm{diam}(\Theta) \le B \;\Rightarrow\; \|\theta\| \le B",
        outcome=Outcome.CORRECTED,
        check=check_diameter,
        correction="‖θ‖ ≤ B + dist(0, Θ); the proof never uses it",
        correction_tex=r"\|\theta\| \le B + \mathrm{dist}(0,\Theta)",
        smallest=Instance((1.0,), 1.0, 1.0, ((1.0,),)),
    ),
}
