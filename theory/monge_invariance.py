"""M3. The Monge metric keeps its I in whatever coordinates it is computed in, and so its perturbation is not invariant.

Coordinates φ with θ = ψ(φ) and Jacobian J; g = ∇_θℓ, so that ∇_φℓ = Jᵀg. A method is invariant if the perturbation that
it finds in φ, pushed forward by J, is the one that it finds in θ.

Claim M3: Jacobsen & Arvanitidis, Monge SAM, 2025: M-SAM is reparametrisation-invariant, which SAM is not.
Verdict: fails for the closed form, which is computed with I and ∇ℓ in the coordinates in use. For q = ‖g‖² and
p = ‖Jᵀg‖² the two perturbations are
    Jε_φ = ρ JJᵀg/√(p(1 + p)),    ε_θ = ρ g/√(q(1 + q)).
If they agree, JJᵀg = κg; then p = κq, and κ(1 + q) = 1 + κq leaves κ = 1. So they agree for every g only if J is
orthogonal, exactly as with SAM. For θ = cφ the ratio of the two is c√((1 + q)/(1 + c²q)): SAM's c where the gradient is
small, and 1 only as ‖g‖ → ∞. The part ggᵀ is invariant, because ⟨g, ε⟩ is a number that has no coordinates. I is not.

Claim M3a: it is invariant if the metric is pulled back, G_φ = Jᵀ(I + ggᵀ)J, which is the metric of the graph
φ ↦ (ψ(φ), ℓ). Verdict: holds, and so does it for I alone, that is for Euclidean SAM with JᵀJ: for every G
    J (JᵀGJ)⁻¹ Jᵀg = G⁻¹g.
So this property does not distinguish Monge SAM from SAM. Someone has to name the coordinates in which I is meant, and then both
are invariant; or nobody does, and neither is. Only the vectors agree: ψ(φ + ε_φ) is θ + ε_θ + O(ρ²), unless ψ is affine.
Assumptions: g ≠ 0; J invertible at φ; ψ twice differentiable.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import sympy as sp

from theory.claim import Claim
from theory.drawing import Axes
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge, undecided

Rows = list[list[Fraction]]
"""A matrix, row by row; a column vector has one entry a row."""


def derive() -> dict[str, sp.Eq]:
    """Invariance of every metric that is pulled back, in every dimension; the ratio under a scaling, and its limits."""
    n = sp.Symbol("n", integer=True, positive=True)
    J, G, g = sp.MatrixSymbol("J", n, n), sp.MatrixSymbol("G", n, n), sp.MatrixSymbol("g", n, 1)
    along = prove(J * (J.T * G * J).inverse().doit() * J.T * g, G.inverse() * g)
    norm = prove((J.T * g).T * (J.T * G * J).inverse().doit() * (J.T * g), g.T * G.inverse() * g)
    graph = prove(J.T * J + (J.T * g) * (J.T * g).T, J.T * (sp.Identity(n) + g * g.T) * J)

    c, t, rho, a, b, m = sp.symbols("c t rho a b m", positive=True)  # t for ‖g‖

    def closed(gradient: sp.Matrix) -> sp.Matrix:
        square = gradient.dot(gradient)
        return rho * gradient / (sp.sqrt(square) * sp.sqrt(1 + square))

    g2 = sp.Matrix([t, 0])
    ratio = (c * closed(c * g2))[0] / closed(g2)[0]
    map2 = sp.Matrix([[a, b], [-m * b, m * a]])  # of any lengths and angle, with g an eigenvector of JJᵀ
    kappa = (map2 * map2.T * g2)[0] / t
    longer = (map2 * closed(map2.T * g2))[0] / closed(g2)[0]
    return {
        r"J\, (J^\top G J)^{-1} J^\top g = G^{-1} g": along,
        r"(J^\top g)^\top (J^\top G J)^{-1} (J^\top g) = g^\top G^{-1} g": norm,
        r"J^\top J + (J^\top g)(J^\top g)^\top = J^\top (I + gg^\top) J": graph,
        r"\frac{\|J\epsilon_\varphi\|}{\|\epsilon_\theta\|} = c \sqrt{\frac{1 + \|g\|^2}{1 + c^2 \|g\|^2}}"
        r" \text{ for } \theta = c\varphi": prove(ratio, c * sp.sqrt((1 + t**2) / (1 + c**2 * t**2))),
        r"\|J\epsilon_\varphi\| / \|\epsilon_\theta\| \to c \text{ as } \|g\| \to 0": prove(ratio.subs(t, 0), c),
        r"\|J\epsilon_\varphi\| / \|\epsilon_\theta\| \to 1 \text{ as } \|g\| \to \infty": prove(
            sp.simplify(ratio.subs(t, 1 / t)).subs(t, 0), sp.S(1)
        ),
        r"JJ^\top g = \kappa g \;\Rightarrow\; \frac{\|J\epsilon_\varphi\|^2}{\|\epsilon_\theta\|^2} - 1"
        r" = \frac{\kappa - 1}{1 + \kappa \|g\|^2}": prove(longer**2 - 1, (kappa - 1) / (1 + kappa * t**2)),
    }


@dataclass(frozen=True)
class Instance:
    """θ = ψ(φ) = A(φ + ½ b∘φ²) near the point φ. linear: A, (n, n); bend: b, at: φ, gradient: g in θ, all (n,).

    Floats are taken as the exact fractions that they are. Raises: ValueError where g = 0 or J is singular.
    """

    gradient: np.ndarray
    linear: np.ndarray
    bend: np.ndarray
    at: np.ndarray

    def __post_init__(self) -> None:
        parts = (self.gradient, self.linear, self.bend, self.at)
        if not all((abs(part) < 1e30).all() for part in parts):
            raise ValueError("An entry is not finite, or past 1e30; pass smaller numbers.")
        if not self.gradient.any():
            raise ValueError("At g = 0 there is no perturbation to transform; pass a gradient that is not zero.")
        identity = [[Fraction(i == j) for j in range(len(self.at))] for i in range(len(self.at))]
        if max(abs(x) for row in solve(self.jacobian, identity) for x in row) > 10**100:
            raise ValueError("The Jacobian is singular to 1e-100; pass another map or point.")

    @property
    def jacobian(self) -> Rows:
        """J = A diag(1 + b∘φ)."""
        slope = [1 + Fraction(b) * Fraction(x) for b, x in zip(self.bend.tolist(), self.at.tolist(), strict=True)]
        return [[Fraction(entry) * s for entry, s in zip(row, slope, strict=True)] for row in self.linear.tolist()]

    def image(self, point: np.ndarray) -> np.ndarray:
        """ψ(point)."""
        return self.linear @ (point + self.bend * point**2 / 2)


def solve(matrix: Rows, right: Rows) -> Rows:
    """matrix⁻¹ right by elimination, exactly. Raises: ValueError for a singular matrix."""
    rows = [[*left, *more] for left, more in zip(matrix, right, strict=True)]
    for i in range(len(rows)):
        pivot = next((k for k in range(i, len(rows)) if rows[k][i]), None)
        if pivot is None:
            raise ValueError("The Jacobian is singular, so φ are no coordinates at this point; pass another map or point.")
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for k in range(len(rows)):
            if k != i and rows[k][i]:
                rows[k] = [x - rows[k][i] * y for x, y in zip(rows[k], rows[i], strict=True)]
    return [row[len(rows) :] for row in rows]


def times(left: Rows, right: Rows) -> Rows:
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*right, strict=True)] for row in left]


def transpose(matrix: Rows) -> Rows:
    return [list(column) for column in zip(*matrix, strict=True)]


def metric(gradient: Rows, monge: bool = True) -> Rows:
    """I + ggᵀ, or I, for the column g."""
    outer = times(gradient, transpose(gradient))
    return [[(i == j) + monge * x for j, x in enumerate(row)] for i, row in enumerate(outer)]


def perturbation(G: Rows, gradient: Rows) -> tuple[Rows, Fraction]:
    """v = G⁻¹g and s = gᵀG⁻¹g, for the perturbation ρ v/√s."""
    raised = solve(G, gradient)
    return raised, times(transpose(gradient), raised)[0][0]


def squares(vector: Rows, square: Fraction) -> list[Fraction]:
    """The entries of the perturbation at ρ = 1, each times its own size: rational, where the entries are not."""
    return [x * abs(x) / square for (x,) in vector]


def pushed(instance: Instance, pulled_back: bool, monge: bool = True) -> tuple[list[Fraction], ...]:
    """Squares of ε_φ, Jε_φ and ε_θ: with JᵀGJ in φ if G is pulled back, else with G computed again from Jᵀg."""
    J, g = instance.jacobian, [[Fraction(x)] for x in instance.gradient.tolist()]
    G, slope = metric(g, monge), times(transpose(J), g)
    vector, square = perturbation(times(times(transpose(J), G), J) if pulled_back else metric(slope, monge), slope)
    return squares(vector, square), squares(times(J, vector), square), squares(*perturbation(G, g))


def gap(ours: list[Fraction], theirs: list[Fraction]) -> float:
    return float(max(abs(x - y) for x, y in zip(ours, theirs, strict=True)) / max(map(abs, theirs)))


def instance(seed: int) -> Instance:
    """1 to 3 dimensions, ‖g‖ from about 1e-2 to 1e2, a linear map and a bend at random."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 4))
    gradient, bend, at = rng.normal(size=(3, n))
    return Instance(10 ** rng.uniform(-2, 2) * gradient, rng.normal(size=(n, n)), bend, at)


def check(instance: Instance, altered: bool = False) -> Verdict:
    """M3 over the fractions: Jε_φ = ε_θ, each from the closed form of its own coordinates. Altered: G pulled back.

    Errors are of squared entries, relative to the largest of ε_θ; and 1 if SAM, with I in either coordinates, has none.
    """
    J, g = instance.jacobian, [[Fraction(x)] for x in instance.gradient.tolist()]
    if times(J, times(transpose(J), g)) == g:
        return undecided("a map that changes lengths along g: where JJᵀg = g, as for orthogonal J, the two agree")
    _, ours, theirs = pushed(instance, pulled_back=altered)
    error = gap(ours, theirs)
    case = f"J = {[[float(x) for x in row] for row in J]}, g = {instance.gradient.tolist()}: squares differ by {error:.3g}"
    _, ours, theirs = pushed(instance, pulled_back=False, monge=False)
    return judge(
        [Trial(error, 0.0, case), Trial(float(ours == theirs), 0.5, "SAM's perturbations agree: it is invariant here")]
    )


def check_along(instance: Instance, altered: bool = False) -> Verdict:
    """M3a over the fractions, for I + ggᵀ and for I; for points in float64, ρ = 2⁻⁴, 2⁻⁸, 2⁻¹². Altered: G computed again.

    Errors of vectors: of squared entries, relative to the largest of ε_θ. Of points: in units of what is allowed, the
    remainder ½ρ²|A||b∘ε²|, which is all that a quadratic ψ has, and rounding.
    """
    trials = []
    for name, monge in (("I + ggᵀ", True), ("I", False)):
        local, ours, theirs = pushed(instance, not altered, monge)
        error = gap(ours, theirs)
        trials.append(Trial(error, 0.0, f"G = {name}: squared entries of Jε_φ and ε_θ differ by {error:.3g}"))
        inside, outside = (np.sign(x) * np.sqrt(abs(x)) for x in (np.array(local, float), np.array(theirs, float)))
        size = abs(instance.linear)
        for rho in 2.0 ** np.array([-4, -8, -12]):
            moved = instance.image(instance.at + rho * inside) - instance.image(instance.at)
            reach = abs(instance.at) + rho * abs(inside)
            rounding = 1e-14 * (size @ (reach + abs(instance.bend) * reach**2) + rho * abs(outside)) * len(size)
            allowed = size @ abs(instance.bend * inside**2) * rho**2 / 2 + rounding
            excess = float((abs(moved - rho * outside) / np.maximum(allowed, 1e-300)).max())
            trials.append(
                Trial(excess, 1.0, f"G = {name}: ψ(φ + ε_φ) is {excess:.3g} times too far from θ + ε_θ at ρ = {rho:g}")
            )
    return judge(trials)


def draw(axes: Axes) -> None:
    """Over ‖g‖, under θ = 3φ: how much longer the perturbation found in φ is than the one found in θ."""
    norms = np.logspace(-2, 2, 60)
    styles = {(False, False): "--", (False, True): "-", (True, True): ":"}
    names = {(False, False): "SAM, as coded", (False, True): "Monge SAM, as coded", (True, True): "either, with I pulled back"}
    for key, style in styles.items():
        ratios = []
        for norm in norms:
            drawn = Instance(np.array([norm]), np.array([[3]]), np.array([0]), np.array([0]))
            _, ours, theirs = pushed(drawn, *key)
            ratios.append(float(ours[0] / theirs[0]) ** 0.5)
        axes.plot(norms, ratios, style, label=names[key])
    axes.set(xscale="log", xlabel="‖g‖ in θ = 3φ", ylabel="‖Jε_φ‖ / ‖ε_θ‖", ylim=(0.8, 3.2))
    axes.legend(loc="center right")


CLAIMS = {
    "M3": Claim(
        source="Jacobsen & Arvanitidis 2025, abstract; the closed form in the coordinates in use",
        text="Monge SAM is reparametrisation-invariant, and SAM is not",
        tex=r"J \epsilon_\varphi = \epsilon_\theta,\quad"
        r" \epsilon_\varphi = \frac{\rho J^\top g}{\|J^\top g\| \sqrt{1 + \|J^\top g\|^2}}",
        outcome=Outcome.FAILS,
        check=check,
        correction="only where JJᵀg = g, as SAM: for every g only if J is orthogonal; with I pulled back both are invariant",
        correction_tex=r"J\epsilon_\varphi = \epsilon_\theta \iff JJ^\top g = g",
        smallest=Instance(np.array([1]), np.array([[2]]), np.array([0]), np.array([0])),
    ),
    "M3a": Claim(
        source="Jacobsen & Arvanitidis 2025, abstract; the metric of the graph of the loss",
        text="with I pulled back, G_φ = Jᵀ(I + ggᵀ)J, it is invariant; Euclidean SAM with G_φ = JᵀJ is so as well",
        tex=r"J (J^\top G J)^{-1} J^\top g = G^{-1} g \quad \text{for } G = I + gg^\top \text{ and for } G = I",
        outcome=Outcome.HOLDS,
        check=check_along,
    ),
}
