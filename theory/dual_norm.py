"""F1. The closed forms of SAM, ASAM and Fisher SAM maximise the linearised loss over their ball.

Claim: Kim et al., Fisher SAM, ICML 2022. Among ‖ε‖_G ≤ γ, ‖ε‖_G² = εᵀGε, ⟨g, ε⟩ with g = ∇l(θ) is greatest at
    eq. 2, SAM:        G = I                   ε* = γ g/‖g‖
    eq. 5, ASAM:       G = diag(1/θ²)          ε* = γ θ²g/‖θg‖, element by element
    eq. 10, Fisher SAM: G = F                  ε* = γ F⁻¹g/√(gᵀF⁻¹g)
Verdict: holds, scale included: ‖ε*‖_G = γ. Eq. 10 lacks a transposition sign only.

Derivation. Let G be symmetric positive definite, ‖g‖* = √(gᵀG⁻¹g) and λ = ‖g‖*/2γ, the multiplier of eq. 9. Setting
∂/∂ε of gᵀε − λ(εᵀGε − γ²) to zero gives ε = G⁻¹g/2λ, and complementary slackness, with λ > 0, gives this λ. Completing
the square, for every ε
    γ‖g‖* − gᵀε = λ (γ² − εᵀGε) + λ (ε − ε*)ᵀG(ε − ε*).
In the ball both terms on the right are ≥ 0, and both vanish at ε* alone: the maximum is γ‖g‖*, global and unique.
Assumptions: g ≠ 0, as otherwise every ε is a maximiser, and G non-singular. Where θᵢ = 0, eq. 4 fixes εᵢ = 0, and so does
eq. 5. Where F is singular, eq. 10 has no inverse, and the problem no maximum unless g lies in the range of F; then F⁺ in
place of F⁻¹ gives the maximiser of least length, one of many. With F + ηI the radius is measured by F + ηI.
"""

from dataclasses import dataclass

import numpy as np
import sympy as sp

from theory.claim import Claim
from theory.drawing import Axes
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge, undecided


def derive() -> dict[str, sp.Eq]:
    """The square at every size; stationarity and multiplier for a generic G; eq. 5 and eq. 2 as its special cases."""
    n = sp.Symbol("n", integer=True, positive=True)
    s, scale = sp.symbols("s gamma", positive=True)
    A, E, X = sp.MatrixSymbol("G", n, n), sp.MatrixSymbol("epsilon", n, 1), sp.MatrixSymbol("x", n, 1)
    apart = E.T * A * E - s * E.T * A * X - s * X.T * A * E + s**2 * X.T * A * X
    square = prove((E - s * X).T * A * (E - s * X), apart)

    p, r = sp.symbols("p r", positive=True)
    q, multiplier = sp.Symbol("q", real=True), sp.Symbol("lambda", positive=True)
    g, epsilon = sp.Matrix(sp.symbols("g:2", real=True)), sp.Matrix(sp.symbols("epsilon:2", real=True))
    factor = sp.Matrix([[p, 0], [q, r]])
    metric = factor * factor.T  # every positive definite 2 × 2 matrix
    length = (epsilon.T * metric * epsilon)[0]
    lagrangian = (g.T * epsilon)[0] - multiplier * (length - scale**2)
    solved = sp.solve([lagrangian.diff(e) for e in epsilon], list(epsilon))
    stationary = epsilon.subs(solved)
    dual = sp.sqrt((g.T * metric.inv() * g)[0])
    best = scale * metric.inv() * g / dual
    value = dual / (2 * scale)
    gap = scale * dual - (g.T * epsilon)[0]
    offset = epsilon - best
    certificate = value * (scale**2 - length) + value * (offset.T * metric * offset)[0]

    theta = sp.Matrix(sp.symbols("theta:2", real=True, nonzero=True))
    scaled = sp.diag(*(1 / t**2 for t in theta))
    product = sp.sqrt(sum((t * x) ** 2 for t, x in zip(theta, g, strict=True)))
    adaptive = sp.Matrix([scale * t**2 * x / product for t, x in zip(theta, g, strict=True)])
    special = {p: 1 / theta[0], q: 0, r: 1 / theta[1]}
    return {
        r"(\epsilon - sx)^\top G (\epsilon - sx) = \epsilon^\top G\epsilon - s\,(\epsilon^\top Gx + x^\top G\epsilon)"
        r" + s^2 x^\top Gx": square,
        r"\partial_\epsilon \mathcal L = 0 \Rightarrow \epsilon = \tfrac{1}{2\lambda} G^{-1} g": prove(
            stationary, metric.inv() * g / (2 * multiplier)
        ),
        r"\lambda = \|g\|_* / 2\gamma \Rightarrow \epsilon = \gamma\, G^{-1}g / \sqrt{g^\top G^{-1} g}": prove(
            stationary.subs(multiplier, value), best
        ),
        r"\epsilon^{*\top} G \epsilon^* = \gamma^2": prove((best.T * metric * best)[0], scale**2),
        r"\gamma\|g\|_* - g^\top\epsilon = \lambda(\gamma^2 - \epsilon^\top G\epsilon)"
        r" + \lambda(\epsilon - \epsilon^*)^\top G (\epsilon - \epsilon^*)": prove(gap, certificate),
        r"G = \mathrm{diag}(\theta^{-2}) \Rightarrow \epsilon^* = \gamma\,\theta^2 g / \|\theta g\|": prove(
            best.subs(special), adaptive
        ),
        r"\epsilon^{*\top} \mathrm{diag}(\theta^{-2})\, \epsilon^* = \gamma^2": prove(
            (adaptive.T * scaled * adaptive)[0], scale**2
        ),
        r"G = I \Rightarrow \epsilon^* = \gamma\, g / \|g\|": prove(
            best.subs({p: 1, q: 0, r: 1}), scale * g / sp.sqrt((g.T * g)[0])
        ),
    }


@dataclass(frozen=True)
class Instance:
    """gradient, theta: (n,); fisher: (n, n), symmetric positive definite; radius: γ. float64."""

    gradient: np.ndarray
    theta: np.ndarray
    fisher: np.ndarray
    radius: float

    def __post_init__(self) -> None:
        n = len(self.gradient)
        if n < 1 or self.theta.shape != (n,) or self.fisher.shape != (n, n):
            raise ValueError(
                f"A gradient of length {n} needs theta of that length and a square F; pass n ≥ 1, (n,) and (n, n)."
            )
        if not all(np.isfinite(part).all() for part in (self.gradient, self.theta, self.fisher, self.radius)):
            raise ValueError("NaN or infinity has no place in a ball; pass finite numbers.")
        if not self.radius > 0:
            raise ValueError(f"radius = {self.radius} leaves no ball; pass a positive number.")
        if (self.fisher != self.fisher.T).any() or np.linalg.eigvalsh(self.fisher)[0] <= 0:
            raise ValueError("F is not symmetric positive definite, and eq. 10 inverts it; pass F + ηI with η > 0.")


def instance(seed: int) -> Instance:
    """One to six dimensions, F = AAᵀ + 0.1 I with Gaussian A, and gradient, θ and γ at random scales."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    gradient, theta = (10 ** rng.uniform(-2, 2) * rng.normal(size=n) for _ in range(2))
    root = rng.normal(size=(n, n))
    return Instance(gradient, theta, root @ root.T + 0.1 * np.eye(n), float(10 ** rng.uniform(-2, 1)))


def perturbations(instance: Instance, altered: bool = False) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name → G on the coordinates that the ball leaves free, and ε* as printed. Altered: θ for θ², ‖g‖ for √(gᵀF⁻¹g)."""
    g, theta = instance.gradient, instance.theta
    free = theta[theta != 0]
    inverse = np.linalg.solve(instance.fisher, g)
    forms = {
        "eq. 2": (np.eye(len(g)), g / np.linalg.norm(g)),
        "eq. 5": (np.diag(1 / free**2), (abs(theta) if altered else theta**2) * g / np.linalg.norm(theta * g)),
        "eq. 10": (instance.fisher, inverse / (np.linalg.norm(g) if altered else np.sqrt(g @ inverse))),
    }
    return {name: (metric, instance.radius * unit) for name, (metric, unit) in forms.items()}


def check(instance: Instance, altered: bool = False) -> Verdict:
    """‖ε*‖_G = γ, ε* at the whitened maximiser, and neighbours on the sphere no better. Altered: see ``perturbations``.

    With G = LLᵀ, ⟨g, ε⟩ = ⟨L⁻¹g, Lᵀε⟩ is greatest on ‖Lᵀε‖ = γ at γL⁻¹g/‖L⁻¹g‖ by Cauchy and Schwarz. Errors are
    relative to γ and to the value at ε*, and allowed what rounding does to them, of the order of G's condition number.
    """
    g, theta, radius = instance.gradient, instance.theta, instance.radius
    sizes = np.array([radius, abs(g).max(), abs(theta * g).max(), *abs(theta[theta != 0]), *np.diag(instance.fisher)])
    if not ((sizes > 1e-50) & (sizes < 1e50)).all() or not np.linalg.cond(instance.fisher) < 1e10:
        return undecided("g and θ∘g that are not zero, F with a condition below 1e10, and no number past 1e±50")
    rng = np.random.default_rng(0)
    trials = []
    for name, (metric, whole) in perturbations(instance, altered).items():
        seen = theta != 0 if name == "eq. 5" else np.full(len(g), True)
        gradient, epsilon = g[seen], whole[seen]
        root = np.linalg.cholesky(metric)
        condition = 1.0 if name != "eq. 10" else float(np.linalg.cond(metric))  # a diagonal's rounding is element-wise
        tolerance = 64 * len(g) * float(np.finfo(float).eps) * condition
        white, covector = root.T @ epsilon / radius, np.linalg.solve(root, gradient)
        aside = float(np.linalg.norm(white - covector / np.linalg.norm(covector)))
        outside = float(abs(whole[~seen]).max(initial=0.0))
        length, value = float(np.linalg.norm(white)), float(gradient @ epsilon)
        # Both signs of a shift: whichever side a wrong ε* misses the maximiser on, one of them goes uphill.
        shifts = np.linalg.solve(root.T, rng.normal(size=(len(gradient), 4))).T
        shifts = np.concatenate([scale * sign * shifts for scale in (1e-1, 1e-3, 1e-5) for sign in (1, -1)])
        near = epsilon + radius * shifts
        near *= radius / np.linalg.norm(near @ root, axis=1, keepdims=True)
        gain = float((near @ gradient).max() / value - 1)
        trials += [
            Trial(abs(length - 1), tolerance, f"{name}: ‖ε*‖_G = {length:.6g} γ"),
            Trial(aside, tolerance, f"{name}: ε* is {aside:.3g} γ away from the maximiser on the sphere"),
            Trial(outside, 0.0, f"{name}: ε* moves a coordinate with θ = 0 by {outside:.3g}"),
            Trial(gain, tolerance, f"{name}: a neighbour on the sphere is better than ε* by {gain:.3g}"),
        ]
    return judge(trials)


def draw(axes: Axes) -> None:
    """One gradient, three balls of the same γ: ε* is where the last level line of ⟨g, ε⟩ touches each."""
    drawn = Instance(np.array([0.6, 1.0]), np.array([1.7, 0.5]), np.array([[1.0, -0.9], [-0.9, 1.6]]), 1.0)
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    along = np.array([drawn.gradient[1], -drawn.gradient[0]])
    labels = ("SAM, G = I", "ASAM, G = diag(1/θ²)", "Fisher SAM, G = F")
    for (metric, best), label, colour in zip(perturbations(drawn).values(), labels, ("C0", "C1", "C2"), strict=True):
        axes.plot(*np.linalg.solve(np.linalg.cholesky(metric).T, circle), colour, label=label)
        axes.plot(*(best[:, None] + along[:, None] * [-0.6, 0.6]), colour, linewidth=0.8, linestyle="--")
        axes.plot(*best, colour, marker="o")
    x, y = drawn.gradient.tolist()
    axes.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "->"})
    axes.annotate("g", (0.6 * x - 0.14, 0.6 * y))
    axes.plot([], [], "ko", label="ε*, by eq. 2, 5 and 10")
    axes.set(xlabel="ε₁", ylabel="ε₂", aspect="equal", xlim=(-2.2, 2.9), ylim=(-1.5, 2.9))
    axes.legend(loc="upper left", fontsize="small")


CLAIMS = {
    "F1": Claim(
        source="Kim et al. 2022, eq. 2, 5, 10",
        text="ε* = γ g/‖g‖, γ θ²g/‖θg‖, γ F⁻¹g/√(gᵀF⁻¹g) maximise ⟨g, ε⟩ in the balls of SAM, ASAM and Fisher SAM",
        tex=r"\arg\max_{\epsilon^\top G \epsilon \le \gamma^2} \langle g, \epsilon\rangle"
        r" = \gamma\, \frac{G^{-1} g}{\sqrt{g^\top G^{-1} g}},\quad G = I,\ \mathrm{diag}(\theta^{-2}),\ F",
        outcome=Outcome.HOLDS,
        check=check,
    )
}
