"""F10a. What eq. 3 drops with ∇ε* is of second order in γ for a constant metric only; for others it is of the first.

Claim: Kim et al., Fisher SAM, ICML 2022, eq. 3: the gradient of l(θ + ε*(θ)) is simplified by "ignoring the (higher-order)
gradient terms in ∇ε*(θ) for computational tractability", which leaves ∇l at θ + ε*: of SAM; those of ASAM and Fisher SAM
are "defined similarly". Judged is a reading, as no order is printed: O(γ²), beside the γHu that SAM adds, for all metrics.
Verdict: holds with a correction: for SAM, and for any metric that does not depend on θ. Otherwise what is dropped is of
the order of what SAM adds to the plain gradient, and a smaller γ does not change that.

Derivation. The gradient is kept + dropped, ∇l(θ + ε*) + (∂ε*)ᵀ∇l(θ + ε*). Let g = ∇l(θ), H = ∂g, K = G⁻¹, the dual norm
N(θ, c) = √(cᵀK(θ)c), and ε* = γu with u = Kg/N. Where kept = g + γHu + O(γ²), so that SAM adds γHu,
    (∂ₖu)ᵀg = ½ gᵀ(∂ₖK)g / N = −½ N uᵀ(∂ₖG)u = ∂ₖN at fixed g,
    dropped = γ ∇_θ N(θ, c)|_{c=g} + γ (∂u)ᵀ(∇l(θ + γu) − g),
by differentiating uᵀGu = 1, with Gu = g/N. The second term is O(γ²), and a constant G leaves no other: the envelope theorem.
On a quadratic SAM drops exactly (γ²/‖g‖) H(I − uuᵀ)Hu. Where ∂G ≠ 0 there is a first-order term:
    ASAM, G = diag(θ⁻²)                        γ θg²/‖θg‖, a decay of the weights
    gradient magnitude, G = diag(ηg² + δ)      −γ H D u, D = diag(ηg²/(ηg² + δ)): as δ → 0 all that was added, γHu
    Monge, G = I + ggᵀ                         −γ Hu ‖g‖²/(1 + ‖g‖²), the same fraction of it in every direction
    Fisher, G = F(θ) + λI                      −½γ N uᵀ(∂F)u: nothing for a linear model with Gaussian noise
So with eq. 12 undamped the loss of Fisher SAM is l + γ√k to first order, for k parameters, and its gradient that of l: what
algorithm 1 adds to plain descent is then due to the omission. The steps may still be good, but they are not gradient steps
of that loss.
Assumptions: l three times continuously differentiable, K once; N > 0.
"""

from dataclasses import dataclass

import numpy as np
import sympy as sp
import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from theory.claim import Claim
from theory.drawing import Axes
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge, undecided

METRICS = ("SAM", "ASAM", "gradient magnitude", "Monge", "Fisher")


def derive() -> dict[str, sp.Eq]:
    """The first-order term for any metric, and in closed form for some."""
    entries = a, b, c, x, y = sp.symbols("a b c x y", real=True)
    rates, norm = sp.symbols("da db dc dx dy", real=True), sp.Symbol("N", positive=True)
    inverse, g = sp.Matrix([[a, b], [b, c]]), sp.Matrix([x, y])
    square = (g.T * inverse * g)[0]

    def rate(values: sp.Expr | sp.Matrix, last: int = 5) -> sp.Expr | sp.Matrix:
        """The derivative where the entries of K and g move at their rates, up to the last one, and N by N² = gᵀKg."""
        pairs = list(zip(entries, rates, strict=True))[:last]
        through = sum(square.diff(e) * r for e, r in pairs) / (2 * norm)
        return sum((values.diff(e) * r for e, r in pairs), start=values.diff(norm) * through)

    unit = inverse * g / norm
    turning = (rate(unit).T * g)[0]
    metric = inverse.inv()
    solved = {c: (norm**2 - a * x**2 - 2 * b * x * y) / y**2}  # N² = gᵀKg
    first = turning.subs(solved)
    return {
        r"(\partial_k u)^\top g = \partial_k N(\theta, c)|_{c = g}": prove(first, rate(norm, last=3).subs(solved)),
        r"g^\top (\partial_k K) g = -(Kg)^\top (\partial_k G)\, Kg,\ K = G^{-1}": prove(
            (g.T * rate(inverse) * g)[0], -((inverse * g).T * rate(metric) * inverse * g)[0]
        ),
        r"\partial_k N = u^\top \partial_k g + (\partial_k u)^\top g": prove(
            rate(norm).subs(solved), (unit.T * rate(g))[0].subs(solved) + first
        ),
    } | closed_forms()


def closed_forms() -> dict[str, sp.Eq]:
    """For two parameters and any l with gradient g and Hessian H; N is differentiated at fixed c = g."""
    theta = sp.symbols("theta:2", real=True)
    g, held = sp.Matrix(sp.symbols("g:2", real=True)), sp.Matrix(sp.symbols("c:2", real=True))
    h = sp.symbols("h:3", real=True)
    hessian = sp.Matrix([[h[0], h[1]], [h[1], h[2]]])
    eta, delta, radius, size = sp.symbols("eta delta gamma n", positive=True)
    length = (g.T * g)[0]

    def halved(inverse: sp.Matrix) -> sp.Matrix:
        """½∇_θ N² at fixed c = g: K depends on θ itself or through g, whose derivative is H."""
        square = (held.T * inverse * held) / 2
        return (square.jacobian(theta) + square.jacobian(g) * hessian).T.subs(dict(zip(held, g, strict=True)))

    damped = sp.diag(*(1 / (eta * x**2 + delta) for x in g))
    share = sp.diag(*(eta * x**2 / (eta * x**2 + delta) for x in g))
    monge = sp.eye(2) - g * g.T / (1 + length)
    turning = (radius * g / sp.sqrt(length)).jacobian(g) * hessian
    projected = sp.eye(2) - g * g.T / length
    jacobian, u = radius / size * projected * hessian, g / size  # size: ‖g‖, whose square is rational
    return {
        r"\text{SAM: } \partial\epsilon^* = \tfrac{\gamma}{\|g\|} (I - uu^\top) H": prove(
            turning.subs(length, size**2), jacobian.subs(length, size**2)
        ),
        r"\text{SAM, } l = \tfrac12 \theta^\top H\theta:\ (\partial\epsilon^*)^\top \nabla l(\theta + \epsilon^*)"
        r" = \tfrac{\gamma^2}{\|g\|} H (I - uu^\top) H u": prove(
            jacobian.T * (g + hessian * radius * u), radius**2 / size * hessian * projected * hessian * u
        ),
        r"\text{ASAM: } \tfrac12 \nabla_\theta N^2|_g = \theta g^2": prove(
            halved(sp.diag(*(t**2 for t in theta))), sp.Matrix([t * x**2 for t, x in zip(theta, g, strict=True)])
        ),
        r"\text{eq. 12, } D = \mathrm{diag}(\eta g^2 / (\eta g^2 + \delta)):\ \tfrac12 \nabla_\theta N^2|_g = -H D K g": prove(
            halved(damped), -hessian * share * damped * g
        ),
        r"\text{eq. 12, } \delta = 0:\ \tfrac12 \nabla_\theta N^2|_g = -H K g": prove(
            halved(damped).subs(delta, 0), -hessian * damped.subs(delta, 0) * g
        ),
        r"\text{Monge: } \tfrac12 \nabla_\theta N^2|_g = -\tfrac{\|g\|^2}{1 + \|g\|^2} H K g": prove(
            halved(monge), -length / (1 + length) * hessian * monge * g
        ),
    }


@dataclass(frozen=True)
class Instance:
    """A scalar model f, linear or with tanh units, under logistic loss (labels ±1) or squared error. float64.

    inputs: (n, d); labels: (n,); theta: (d,), or (hidden·(d + 1),) for inner and outer weights; damping: λ and δ.
    """

    inputs: Tensor
    labels: Tensor
    theta: Tensor
    hidden: int = 0
    logistic: bool = True
    damping: float = 0.1

    def __post_init__(self) -> None:
        n, d = self.inputs.shape
        size = self.hidden * (d + 1) if self.hidden else d
        if n < 1 or self.labels.shape != (n,) or self.theta.shape != (size,):
            raise ValueError(f"inputs {n, d} with {self.hidden} hidden units need n ≥ 1, labels ({n},) and theta ({size},).")
        if not all(part.isfinite().all() for part in (self.inputs, self.labels, self.theta)):
            raise ValueError("NaN or infinity has no gradient; pass finite inputs, labels and theta.")
        if not 0 < self.damping < float("inf"):
            raise ValueError(f"damping = {self.damping} may leave the Fisher matrix singular; pass a finite number > 0.")

    def outputs(self, theta: Tensor) -> Tensor:
        if not self.hidden:
            return self.inputs @ theta
        inner, outer = theta[: -self.hidden].view(self.hidden, -1), theta[-self.hidden :]
        return torch.tanh(self.inputs @ inner.T) @ outer

    def loss(self, theta: Tensor) -> Tensor:
        outputs = self.outputs(theta)
        if self.logistic:
            return torch.logaddexp(torch.zeros_like(outputs), -self.labels * outputs).mean()
        return ((outputs - self.labels) ** 2).mean() / 2

    def fisher(self, theta: Tensor) -> Tensor:
        """F, with unit variance for the squared error, + λI."""
        jacobian, outputs = jacrev(self.outputs)(theta), self.outputs(theta)
        weights = torch.sigmoid(outputs) * torch.sigmoid(-outputs) if self.logistic else torch.ones_like(outputs)
        return (jacobian.T * weights) @ jacobian / len(outputs) + self.damping * torch.eye(len(theta)).to(theta)

    def sharp(self, theta: Tensor, c: Tensor) -> Tensor:
        """K(θ)c for each of the metrics. (5, P)."""
        g = grad(self.loss)(theta)
        monge, fisher = c - g * (g @ c) / (1 + g @ g), torch.linalg.solve(self.fisher(theta), c)
        return torch.stack([c, theta**2 * c, c / (g**2 + self.damping), monge, fisher])

    def norm(self, theta: Tensor, c: Tensor) -> Tensor:
        """N(θ, c). (5,)."""
        return (self.sharp(theta, c) @ c).sqrt()

    def unit(self, theta: Tensor) -> Tensor:
        """u = ε*/γ. (5, P)."""
        sharp = self.sharp(theta, g := grad(self.loss)(theta))
        return sharp / (sharp @ g).sqrt()[:, None]


def instance(seed: int) -> Instance:
    """Logistic loss or squared error, of a linear model or of two tanh units, on a few Gaussian inputs."""
    rng = np.random.default_rng(seed)
    hidden, logistic = int(rng.choice([0, 2])), bool(rng.integers(2))
    n, d = int(rng.integers(2, 6)), int(rng.integers(2, 4))
    labels = rng.choice([-1.0, 1.0], n) if logistic else rng.normal(size=n)
    parts = rng.normal(size=(n, d)), labels, rng.normal(size=hidden * (d + 1) or d)
    inputs, targets, theta = (torch.from_numpy(part) for part in parts)
    return Instance(inputs, targets, theta, hidden, logistic)


def terms(instance: Instance, radius: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What SAM adds to g, ∇l(θ + γu) − g, and what eq. 3 drops, γ(∂u)ᵀ∇l(θ + γu). (R, 5, P) each; and ∂u, (5, P, P)."""
    unit, turning = instance.unit(instance.theta), jacrev(instance.unit)(instance.theta)
    slope = grad(instance.loss)
    kept = vmap(vmap(slope))(instance.theta + radius[:, None, None] * unit)
    dropped = radius[:, None, None] * torch.einsum("mpq,rmp->rmq", turning, kept)
    return kept - slope(instance.theta), dropped, turning


def check(instance: Instance, altered: bool = False) -> Verdict:
    """|dropped − γ ∇_θ N(θ, c)|_{c=g}| ≤ C γ² for each metric, γ = 2⁻²⁴ … 2⁻⁴. Altered: of N², and so twice N as much.

    Printed: |dropped| ≤ C γ². C is max |(∂u)ᵀ∇²l(θ + su)u| over s in [0, γ]. Errors are in units of the allowance.
    """
    g = grad(instance.loss)(theta := instance.theta)
    norm, scale = instance.norm(theta, g), float(g.norm())
    spread = float(torch.linalg.cond(instance.fisher(theta))) + (scale**2 + 1) * (1 + 1 / instance.damping)
    if not (spread < 1e8 and (norm > 1e-6 * scale).all() and scale > 1e-6):
        return undecided("a gradient above 1e-6 that every metric sees, and a Fisher matrix with a condition below 1e8")
    points = 2.0 ** torch.linspace(-24, -4, 21).to(theta)
    radius = points[::2]
    _, dropped, turning = terms(instance, radius)
    first = jacrev(lambda theta: instance.norm(theta, g))(theta) * (2 * norm[:, None] if altered else 1)

    def curvature(s: Tensor, u: Tensor) -> Tensor:
        return grad(lambda theta: grad(instance.loss)(theta) @ u)(theta + s * u)

    bends = vmap(vmap(curvature, (None, 0)), (0, None))(points, instance.unit(theta))
    lagrange = torch.einsum("mpq,rmp->rmq", turning, bends).norm(dim=2).cummax(0).values[::2]
    # ∂u is ∂(Kg)/N without its part along u, and (∂u)ᵀg cancels too: rounding is that of the whole.
    whole = jacrev(lambda theta: instance.sharp(theta, grad(instance.loss)(theta)))(theta).norm(dim=(1, 2)) / norm
    rounding = 64 * torch.finfo(torch.float64).eps * spread * (whole * scale + first.norm(dim=1)) + 1e-200
    # Twice, because the maximum may sit between the points.
    allowance = 2 * lagrange * radius[:, None] ** 2 + rounding * radius[:, None]
    if not allowance.isfinite().all():
        return undecided("a model whose curvature does not overflow")

    def trials(prediction: Tensor, text: str) -> list[Trial]:
        errors = (dropped - radius[:, None, None] * prediction).norm(dim=2) / allowance
        return [
            Trial(error, 1.0, f"{METRICS[m]}: at γ = {r:.3g} dropped is {size / r:.3g} γ, {text}")
            for m in range(len(METRICS))
            for error, r, size in zip(errors[:, m].tolist(), radius.tolist(), dropped[:, m].norm(dim=1).tolist(), strict=True)
        ]

    return judge(trials(first, "not ∇N at fixed g"), printed=trials(torch.zeros_like(first), "which is no O(γ²)"))


def draw(axes: Axes) -> None:
    """‖dropped‖ over ‖added‖ against γ: only SAM's goes to zero."""
    radius = 10 ** torch.linspace(-4, 0, 60, dtype=torch.float64)
    added, dropped, _ = terms(instance(14), radius)
    for name, ratio in zip(METRICS, (dropped.norm(dim=2) / added.norm(dim=2)).T, strict=True):
        axes.loglog(radius, ratio, label=name)
    axes.set(xlabel="γ", ylabel="‖dropped‖ / ‖added to ∇l‖")
    axes.legend(loc="lower right", fontsize="small")


CLAIMS = {
    "F10a": Claim(
        source="Kim et al. 2022, eq. 3; 'similarly' after eq. 5 and eq. 10",
        text="the terms in ∇ε* are ignored as (higher-order); read as O(γ²) beside the γHu that SAM adds",
        tex=r"\nabla\, l(\theta + \epsilon^*(\theta)) = \nabla l\,|_{\theta + \epsilon^*} + O(\gamma^2)",
        outcome=Outcome.CORRECTED,
        check=check,
        correction="they are O(γ²) for a constant metric; else γ ∇_θ‖g‖* at fixed g, of the order of what SAM adds",
        correction_tex=r"(\nabla\epsilon^*)^\top \nabla l(\theta + \epsilon^*)"
        r" = -\tfrac{\|g\|_*}{2\gamma}\, \epsilon^{*\top} (\partial_\theta G)\, \epsilon^* + O(\gamma^2)",
        smallest=Instance(torch.ones(1, 1).double(), torch.ones(1).double(), torch.ones(1).double()),
    )
}
