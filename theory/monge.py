"""M2. Monge SAM is Euclidean SAM with radius ρ/√(1 + ‖g‖²): SAM where the gradient is small, gradient descent where large.

Claim: Jacobsen & Arvanitidis, Monge SAM, 2025 (arXiv 2502.08448): under the metric G = I + ggᵀ the perturbation is
ε* = ρ g/(‖g‖√(1 + ‖g‖²)), and the method varies between SAM and gradient descent.
Verdict: holds.

Derivation. G g = g(1 + gᵀg), so G⁻¹g = g/(1 + ‖g‖²), and ε* = ρ G⁻¹g/√(gᵀG⁻¹g) is the closed form. It is the maximum:
for q = ‖g‖² and any ε, by Lagrange's identity,
    (q/(1 + q)) εᵀGε − ⟨g, ε⟩² = Σ_{i<j} (gᵢεⱼ − gⱼεᵢ)²/(1 + q) ≥ 0,    with equality where ε ∥ g.
Hence ‖ε*‖ = wρ with w = 1/√(1 + q), which falls from 1 at g = 0 (SAM) to 0 as ‖g‖ → ∞ (gradient descent):
    1 − w² ≤ q,    w² ≤ 1/q.
On a quadratic loss the descent direction itself is a mean of the two: ∇ℓ(θ + ε*) = w ∇ℓ(θ + ε_SAM) + (1 − w) ∇ℓ(θ). The
rise ⟨g, ε*⟩ = ρ‖g‖w stays below ρ.

Which of the two it is near depends on ‖g‖ against 1, and so on the unit of the loss: for sℓ, ‖ε*‖ = ρ/√(1 + s²q). A
loss summed over the batch instead of averaged is nearer to gradient descent. SAM itself does not depend on s.
Assumptions: g ≠ 0. Where g = 0 every point of the ball is a maximum, and ε* is not defined.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import sympy as sp

from theory.claim import Claim
from theory.drawing import Axes
from theory.proof import prove
from theory.unit import unit
from theory.verdict import Outcome, Trial, Verdict, judge


def derive() -> dict[str, sp.Eq]:
    """The solve in every dimension; in three, the inverse, the closed form and its optimality; both limits."""
    n = sp.Symbol("n", integer=True, positive=True)
    column = sp.MatrixSymbol("g", n, 1)
    metric = sp.Identity(n) + column * column.T
    solve = prove(metric * column, column * (sp.Identity(1) + column.T * column))

    g, e = sp.Matrix(sp.symbols("g:3", real=True)), sp.Matrix(sp.symbols("e:3", real=True))
    rho, t, s = sp.symbols("rho t s", positive=True)  # t for ‖g‖
    q, G = g.dot(g), sp.eye(3) + g * g.T
    raised = G.inv() * g
    inverse = prove(G * (sp.eye(3) - g * g.T / (1 + q)), sp.eye(3))
    sharp, square = prove(raised, g / (1 + q)), prove(g.dot(raised), q / (1 + q))
    factor = rho * (1 / (1 + t**2)) / sp.sqrt(t**2 / (1 + t**2))  # ε* = factor · g, by these two
    closed = prove(factor, rho / (t * sp.sqrt(1 + t**2)))
    minors = sum((g[i] * e[j] - g[j] * e[i]) ** 2 for i, j in ((0, 1), (0, 2), (1, 2)))
    optimal = prove(q / (1 + q) * (e.T * G * e)[0] - g.dot(e) ** 2, minors / (1 + q))

    radius = factor * t
    weight, size = sp.symbols("w r", positive=True)
    at, g2 = sp.Matrix(sp.symbols("x y", real=True)), sp.Matrix(g[:2])
    H, b = sp.Matrix(2, 2, sp.symbols("a b b c", real=True)), sp.Matrix(sp.symbols("l:2", real=True))
    slope = sp.Matrix([(at.T * H * at / 2 + b.T * at)[0]]).jacobian(at).T

    def moved(times: sp.Expr) -> sp.Matrix:
        """∇ℓ of the quadratic at this many times g off the point, for any g."""
        return slope.subs(dict(zip(at, at + times * g2, strict=True)), simultaneous=True).expand()

    scaled = (sp.eye(2) + s**2 * g2 * g2.T).inv() * s * g2  # G⁻¹g of sℓ
    return {
        r"(I + gg^\top)\, g = g\,(1 + g^\top g)": solve,
        r"(I + gg^\top)\Bigl(I - \frac{gg^\top}{1 + \|g\|^2}\Bigr) = I": inverse,
        r"G^{-1} g = \frac{g}{1 + \|g\|^2}": sharp,
        r"g^\top G^{-1} g = \frac{\|g\|^2}{1 + \|g\|^2}": square,
        r"\rho\, \frac{G^{-1} g}{\sqrt{g^\top G^{-1} g}} = \frac{\rho\, g}{\|g\| \sqrt{1 + \|g\|^2}}": closed,
        r"\tfrac{\|g\|^2}{1 + \|g\|^2}\, \epsilon^\top G \epsilon - \langle g, \epsilon\rangle^2"
        r" = \tfrac{1}{1 + \|g\|^2} \textstyle\sum_{i<j} (g_i \epsilon_j - g_j \epsilon_i)^2": optimal,
        r"\lim_{\|g\| \to 0} \|\epsilon^*\| = \rho": prove(sp.simplify(radius).subs(t, 0), rho),
        r"\lim_{\|g\| \to \infty} \|\epsilon^*\| = 0": prove(sp.simplify(radius.subs(t, 1 / s)).subs(s, 0), sp.S(0)),
        r"\frac{d \|\epsilon^*\|}{d \|g\|} = -\frac{\rho \|g\|}{(1 + \|g\|^2)^{3/2}}": prove(
            radius.diff(t), -rho * t / (1 + t**2) ** sp.Rational(3, 2)
        ),
        r"\nabla\ell(\theta + w \epsilon_{\text{SAM}}) = w\, \nabla\ell(\theta + \epsilon_{\text{SAM}})"
        r" + (1 - w)\, \nabla\ell(\theta) \text{ for quadratic } \ell": prove(
            moved(weight * size), (weight * moved(size) + (1 - weight) * slope).expand()
        ),
        r"\|\epsilon^*\|^2 = \rho^2 / (1 + s^2 \|g\|^2) \text{ for } s\ell": prove(
            sp.cancel(rho**2 * scaled.dot(scaled) / (s * g2.dot(scaled))), rho**2 / (1 + s**2 * g2.dot(g2))
        ),
    }


@dataclass(frozen=True)
class Instance:
    """gradient: (n,), not zero; taken as the exact fractions that its floats are. hessian: (n, n), of a quadratic loss."""

    gradient: np.ndarray
    hessian: np.ndarray

    def __post_init__(self) -> None:
        if not all((abs(part) < 1e300).all() for part in (self.gradient, self.hessian)):
            raise ValueError("The gradient or the Hessian is not finite, or past 1e300; pass smaller numbers.")
        if self.hessian.shape != (len(self.gradient), len(self.gradient)):
            raise ValueError(
                f"A Hessian of shape {self.hessian.shape} does not fit {len(self.gradient)} parameters; pass (n, n)."
            )
        if not self.gradient.any():
            raise ValueError("At g = 0 every perturbation is as good as any other; pass a gradient that is not zero.")


def instance(seed: int) -> Instance:
    """1 to 5 dimensions, ‖g‖ from about 1e-3 to 1e3, a Hessian with eigenvalues of either sign."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 6))
    hessian = rng.normal(size=(n, n))
    return Instance(10 ** rng.uniform(-3, 3) * rng.normal(size=n), (hessian + hessian.T) / 2)


def direction(gradient: np.ndarray, hessian: np.ndarray, radius: float) -> np.ndarray:
    """∇ℓ(θ + ε) for a quadratic loss and ε of this length along g."""
    return gradient + hessian @ (radius * unit(gradient))


def check(instance: Instance, altered: bool = False) -> Verdict:
    """M2 over the fractions, from G itself, for the losses sℓ with s = 2⁻²⁰ … 2²⁰. Altered: 1 + ‖g‖² without the root.

    Exact, errors relative: Gg = (1 + q)g, so that ε* lies along g; (t²) from ‖tg‖_G = ρ is that of the closed form; 1 − w²
    is at most q and w² at most 1/q for w = ‖ε*‖/ρ. In float64: on the quadratic the direction is the weighted mean.
    """
    trials = []
    size = abs(instance.gradient).max() + abs(instance.hessian).sum(1).max()
    for power in range(-20, 21, 5):
        g = [Fraction(2) ** power * Fraction(x) for x in instance.gradient.tolist()]
        q, at = sum((x * x for x in g), Fraction()), f"‖g‖ = {2.0**power * math.hypot(*instance.gradient):.3g}"
        image = [sum(((i == j) + g[i] * g[j]) * x for j, x in enumerate(g)) for i in range(len(g))]  # G g, row by row
        along = max(abs(y - (1 + q) * x) for x, y in zip(g, image, strict=True))
        square = 1 / sum((x * y for x, y in zip(g, image, strict=True)), Fraction())  # t², for ρ = 1
        closed = 1 / (q * (1 + q) ** (2 if altered else 1))
        share = square * q  # w²
        trials += [
            Trial(float(along), 0.0, f"{at}: Gg leaves the line of g by {float(along):.3g}"),
            Trial(float(abs(closed / square - 1)), 0.0, f"{at}: ‖ε*‖² = {float(closed * q):.6g} ρ², not {float(share):.6g} ρ²"),
            Trial(
                float(max(Fraction(), 1 - share - q)), 0.0, f"{at}: ‖ε*‖² = {float(share):.6g} ρ² is further from SAM than ρ²q"
            ),
            Trial(
                float(max(Fraction(), share - 1 / q)),
                0.0,
                f"{at}: ‖ε*‖² = {float(share):.6g} ρ² is further from descent than ρ²/q",
            ),
        ]
        # Of sℓ, and divided by s: ∇ℓ at the points that sℓ perturbs to.
        weight = math.sqrt(share)
        mean = weight * direction(instance.gradient, instance.hessian, 1.0) + (1 - weight) * instance.gradient
        found = direction(instance.gradient, instance.hessian, math.sqrt(closed * q))
        error = float(abs(found - mean).max() / size)
        trials.append(Trial(error, 1e-14 * len(g), f"{at}: ∇ℓ(θ + ε*) is off the weighted mean by {error:.3g}"))
    return judge(trials)


def draw(axes: Axes) -> None:
    """The weight of SAM in the direction of Monge SAM, over ‖g‖, for a loss in three units."""
    norms = np.logspace(-3, 3, 200)
    for scale, style in ((1.0, "-"), (10.0, "--"), (100.0, ":")):
        axes.plot(norms, 1 / np.sqrt(1 + (scale * norms) ** 2), style, label=f"loss times {scale:g}")
    axes.set(xscale="log", xlabel="‖g‖ of the loss times 1", ylabel="‖ε*‖ / ρ", ylim=(-0.05, 1.1))
    axes.text(1.2e-3, 1.03, "SAM")
    axes.text(900, 0.12, "gradient descent", ha="right")
    axes.legend(loc="upper right")


CLAIMS = {
    "M2": Claim(
        source="Jacobsen & Arvanitidis 2025, closed form of the perturbation",
        text="with G = I + ggᵀ, ε* = ρ g/(‖g‖√(1+‖g‖²)): the method varies between SAM and gradient descent",
        tex=r"\epsilon^* = \frac{\rho\, g}{\|g\| \sqrt{1 + \|g\|^2}}:\quad"
        r" \|\epsilon^*\| \to \rho \text{ as } \|g\| \to 0,\quad \|\epsilon^*\| \to 0 \text{ as } \|g\| \to \infty",
        outcome=Outcome.HOLDS,
        check=check,
    ),
}
