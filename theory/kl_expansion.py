"""F2. KL(p_{θ+ε} ‖ p_θ) = ½ εᵀFε + O(‖ε‖³), where F = E_x E_{y∼p_θ}[∇log p ∇log pᵀ] and KL is averaged over x.

Claim: Kim et al., Fisher SAM, ICML 2022, eq. 8 and appendix B (eq. 35-40): d(θ+ε, θ) ≈ εᵀFε, without the ½.
Verdict: holds with a correction, the ½. So d ≤ γ² (eq. 6) is εᵀFε ≤ 2γ², and eq. 8 is a radius too small by √2.

The mistake: eq. 37 stops the expansion of log p at first order, but its second-order term is weighted by p and counts:
Σ p ½ ∂²log p = −½F, by E[∂²log p] = −E[(∂log p)²]. The second-order term of p meets an O(t) log-ratio and does not.

Derivation. On the ray θ + tε the family has one parameter, and its Fisher information there is εᵀFε, because its score
is ⟨∇log p, ε⟩. Put p(t) = p + at + ½bt² + O(t³) for each outcome. Normalisation gives Σ(p(t) − p) = 0, so
    KL = Σ [p(t) log(p(t)/p) − (p(t) − p)] = Σ [½ (a²/p) t² + (½ ab/p − ⅙ a³/p²) t³] + O(t⁴)
       = ½F t² + (¼F′ + ¹⁄₁₂ E[s³]) t³ + O(t⁴),    s = a/p the score, F′ = dF/dt.
Exponential family p(y; η) = h(y) exp(ηT(y) − A(η)): KL is the Bregman divergence of A, its arguments swapped:
    KL(p_{η+ε} ‖ p_η) = B_A(η, η+ε) = A(η) − A(η+ε) + A′(η+ε) ε = ½A″ε² + ⅓A‴ε³ + O(ε⁴),    F = A″.
Assumptions: p(y; θ) > 0 three times continuously differentiable in θ; finitely many outcomes, or Σ and ∂ exchange.
"""

import math
from collections.abc import Callable
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


def derive() -> dict[str, sp.Eq]:
    """The expansion to third order of a normalised family, the mistake, and the exponential family."""
    t = sp.Symbol("t", real=True)
    old, slope, bend, jerk = (sp.symbols(f"{name}:2", positive=name == "p") for name in "pabc")
    # Three outcomes, the last fixed by normalisation.
    old, slope, bend, jerk = (*old, 1 - sum(old)), *((*x, -sum(x)) for x in (slope, bend, jerk))
    new = [p + a * t + b * t**2 / 2 + c * t**3 / 6 for p, a, b, c in zip(old, slope, bend, jerk, strict=True)]
    kl = sum(q * sp.log(q / p) for q, p in zip(new, old, strict=True))
    fisher = sum(q.diff(t) ** 2 / q for q in new)
    skewness = sum(a**3 / p**2 for a, p in zip(slope, old, strict=True))
    third = fisher.diff(t) / 4 + skewness / 12
    taylor = sum(kl.diff(t, k).subs(t, 0) * t**k / math.factorial(k) for k in range(4))
    expansion = prove(taylor, fisher.subs(t, 0) * t**2 / 2 + third.subs(t, 0) * t**3)

    dropped = sum(p * sp.log(q).diff(t, 2) / 2 for q, p in zip(new, old, strict=True))
    slip = prove(dropped.subs(t, 0), -fisher.subs(t, 0) / 2)

    eta, eps = sp.symbols("eta epsilon", real=True)
    statistic, base = sp.symbols("T:3", real=True), sp.symbols("h:3", positive=True)
    weights = [h * sp.exp(eta * T) for h, T in zip(base, statistic, strict=True)]
    partition = sp.log(sum(weights))
    moved = partition.subs(eta, eta + eps)
    mass = [w.subs(eta, eta + eps) / sum(weights).subs(eta, eta + eps) for w in weights]
    log_ratio = [T * eps - moved + partition for T in statistic]
    kl_family = sum(q * r for q, r in zip(mass, log_ratio, strict=True))
    bregman = prove(kl_family, partition - moved + moved.diff(eta) * eps)

    A = [sp.Symbol(f"A{k}", real=True) for k in range(5)]  # the derivatives of A at η
    series = sum(A[k] * eps**k / math.factorial(k) for k in range(5))
    cubic = sp.expand(A[0] - series + series.diff(eps) * eps).series(eps, 0, 4).removeO()
    return {
        r"\mathrm{KL}(p_t \| p_0) = \tfrac12 F t^2 + \bigl(\tfrac14 F' + \tfrac1{12} E[s^3]\bigr) t^3 + O(t^4)": expansion,
        r"\textstyle\sum_y p\,\tfrac12 \partial_t^2 \log p = -\tfrac12 F": slip,
        r"\mathrm{KL}(p_{\eta+\epsilon} \| p_\eta) = A(\eta) - A(\eta+\epsilon) + A'(\eta+\epsilon)\,\epsilon": bregman,
        r"\mathrm{KL}(p_{\eta+\epsilon} \| p_\eta) = \tfrac12 A''\epsilon^2 + \tfrac13 A'''\epsilon^3 + O(\epsilon^4)": prove(
            cubic, A[2] * eps**2 / 2 + A[3] * eps**3 / 3
        ),
    }


class Softmax:
    """p(y = k) = softmax(o)_k for outputs o of shape (n, K)."""

    @staticmethod
    def nodes(outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Points y and weights, both (n, Y), with E_y[f] = Σ w f(y) exactly."""
        return torch.arange(outputs.shape[1]).expand(outputs.shape), outputs.softmax(1)

    @staticmethod
    def log_prob(outputs: Tensor, y: Tensor) -> Tensor:
        return outputs.log_softmax(1).gather(1, y)

    @staticmethod
    def kl(new: Tensor, old: Tensor) -> Tensor:
        new = new.log_softmax(1)
        ratio = new - old.log_softmax(1)
        # Σ p_new (e^{−r} − 1) = Σ (p_old − p_new) = 0, and with it no term is negative: nothing cancels in the sum.
        return (new.exp() * (ratio + torch.expm1(-ratio))).sum(1)


class Gaussian:
    """y ∼ N(m, e^{2s}) for outputs (m, s) of shape (n, 2)."""

    @staticmethod
    def nodes(outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Gauss-Hermite with three nodes, exact to degree five: products of two scores have degree four."""
        mean, log_std = outputs[:, :1], outputs[:, 1:]
        root = math.sqrt(3)
        weights = outputs.new_tensor([1 / 6, 2 / 3, 1 / 6]).expand(len(outputs), 3)
        return mean + log_std.exp() * outputs.new_tensor([-root, 0.0, root]), weights

    @staticmethod
    def log_prob(outputs: Tensor, y: Tensor) -> Tensor:
        mean, log_std = outputs[:, :1], outputs[:, 1:]
        return -log_std - ((y - mean) * (-log_std).exp()) ** 2 / 2

    @staticmethod
    def kl(new: Tensor, old: Tensor) -> Tensor:
        shift = (new - old)[:, 1]
        return (torch.expm1(2 * shift) - 2 * shift + ((new - old)[:, 0] * (-old[:, 1]).exp()) ** 2) / 2


@dataclass(frozen=True)
class Instance:
    """Model, batch and direction, float64. inputs: (n, d); theta, direction: (P,); hidden: tanh units, 0 if linear."""

    family: type[Softmax] | type[Gaussian]
    inputs: Tensor
    theta: Tensor
    direction: Tensor
    hidden: int = 0

    def outputs(self, theta: Tensor) -> Tensor:
        features = self.inputs
        if self.hidden:
            first, theta = theta.split([self.hidden * features.shape[1], theta.numel() - self.hidden * features.shape[1]])
            features = torch.tanh(features @ first.view(self.hidden, -1).T)
        return features @ theta.view(-1, features.shape[1]).T

    def fisher(self) -> Tensor:
        """F by its definition: the dense Jacobian of log p at every y, weighted by p and averaged over x. (P, P)."""
        outputs = self.outputs(self.theta).detach()
        y, weights = self.family.nodes(outputs)
        # A node that is the mean itself in float64 has no score for it.
        if issubclass(self.family, Gaussian) and ((y - outputs[:, :1]).abs() < 1e-6 * outputs[:, 1:].exp())[:, ::2].any():
            raise ValueError(
                "A mean of more than 1e15 σ has lost its row of F to rounding; pass a smaller mean, or a larger σ."
            )
        scores = jacrev(lambda theta: self.family.log_prob(self.outputs(theta), y))(self.theta)
        return torch.einsum("ny,nyp,nyq->pq", weights, scores, scores) / len(self.inputs)

    def kl(self, epsilon: Tensor) -> Tensor:
        return self.family.kl(self.outputs(self.theta + epsilon), self.outputs(self.theta)).mean()


def instance(seed: int) -> Instance:
    """A linear or two-layer tanh model, categorical or Gaussian, with weights, batch and direction at random."""
    rng = np.random.default_rng(seed)
    family = (Softmax, Gaussian)[rng.integers(2)]
    n, d, hidden = int(rng.integers(1, 7)), int(rng.integers(1, 5)), int(rng.choice([0, 3]))
    outputs = 2 if family is Gaussian else int(rng.integers(2, 5))
    size = hidden * d + (hidden or d) * outputs
    inputs, theta, direction = (torch.from_numpy(rng.normal(size=shape)) for shape in ((n, d), size, size))
    return Instance(family, inputs, theta / math.sqrt(d), direction, hidden)


def unit(instance: Instance) -> Tensor | Verdict:
    """The direction with ‖ε‖_F = 1, or what is missing for one."""
    # θ + tε is rounded by eps θ, and a Gaussian's mean by eps of itself: both must be small in units that change p noticeably.
    far = undecided("θ below 1000 in the lengths of F, and means below 1000 σ: beyond, the least steps are lost in rounding")
    outputs = instance.outputs(instance.theta)
    if issubclass(instance.family, Gaussian) and not (outputs[:, 0] * (-outputs[:, 1]).exp()).abs().max() < 1e3:
        return far
    fisher, direction = instance.fisher(), instance.direction
    square = direction @ fisher @ direction
    if not square > 1e-6 * fisher.trace() * (direction @ direction):
        return undecided("a direction that F sees: along this one both sides vanish to rounding")
    return direction / square.sqrt() if len(direction) * (fisher.diagonal() @ instance.theta**2) < 1e6 else far


LOWEST = -40
"""log₂ of the least t that ``lagrange`` needs: where F hardly sees ε, f‴ may have its maximum far below the least t judged."""


def lagrange(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """max |f‴|/6 up to each of these rising points. The maximum may sit between two of them: allow for it."""
    return (vmap(grad(grad(grad(function))))(points).abs() / 6).cummax(0).values


def compared(name: str, values: Tensor, coefficient: float, ladder: Tensor, allowance: Tensor) -> list[Trial]:
    """Values at each t of the ladder against coefficient · t², in units of the allowance."""
    errors = (values - coefficient * ladder**2).abs() / allowance
    return [
        Trial(e, 1.0, f"t = {t:.3g}, ‖ε‖_F = 1: {name} = {value:.6g}, not {coefficient} t² = {coefficient * t * t:.6g}")
        for e, t, value in zip(errors.tolist(), ladder.tolist(), values.tolist(), strict=True)
    ]


def check(instance: Instance, altered: bool = False) -> Verdict:
    """|KL(tε) − ½t²| ≤ C t³ for t = 2⁻¹² … 2⁻² and ‖ε‖_F = 1, against the printed t². Altered: 1 in place of our ½.

    C is Lagrange's, max |φ‴|/6 over [0, t] of φ(t) = KL(tε). Errors are in units of the allowance: 1 is its edge.
    """
    epsilon = unit(instance)
    if isinstance(epsilon, Verdict):
        return epsilon

    def kl(t: Tensor) -> Tensor:
        return instance.kl(t * epsilon)

    points = 2.0 ** torch.linspace(LOWEST, -2, 115, dtype=torch.float64)
    ladder = points[-31:]
    # The t² is for rounding in the log-ratios, of order t.
    allowance = 2 * lagrange(kl, points)[-31:] * ladder**3 + 1e-8 * ladder**2
    if not allowance.isfinite().all():
        return undecided("a model whose KL does not overflow within ‖ε‖_F = 1/4")
    values = vmap(kl)(ladder)
    ours, printed = (compared("KL", values, coefficient, ladder, allowance) for coefficient in (1.0 if altered else 0.5, 1.0))
    return judge(ours, printed)


def draw(axes: Axes) -> None:
    """KL along a ray of a tanh classifier, over ½t² and over the printed t²."""
    drawn = instance(0)
    epsilon = unit(drawn)
    ladder = 2.0 ** torch.linspace(-10, 0, 41, dtype=torch.float64)
    kl = vmap(lambda t: drawn.kl(t * epsilon))(ladder)
    axes.loglog(ladder, kl, "k", label="KL(p_{θ+tε} ‖ p_θ)")
    axes.loglog(ladder, ladder**2 / 2, "--", label="½ t² εᵀFε")
    axes.loglog(ladder, ladder**2, ":", label="t² εᵀFε, as printed")
    axes.set(xlabel="t, with ‖ε‖_F = 1", ylabel="nats")
    axes.legend()


CLAIMS = {
    "F2": Claim(
        source="Kim et al. 2022, eq. 8 and appendix B (eq. 35-40)",
        text="d(θ+ε, θ) = E KL(p_{θ+ε} ‖ p_θ) ≈ εᵀFε for small ε",
        tex=r"E_x \mathrm{KL}(p_{\theta+\epsilon} \| p_\theta) \approx \epsilon^\top F(\theta)\, \epsilon",
        outcome=Outcome.CORRECTED,
        check=check,
        correction="½ εᵀFε: eq. 37 drops the second-order term of log p, which is −½ εᵀFε",
        correction_tex=r"E_x \mathrm{KL}(p_{\theta+\epsilon} \| p_\theta) = \tfrac12 \epsilon^\top F(\theta)\, \epsilon"
        r" + O(\|\epsilon\|^3)",
        smallest=Instance(
            Gaussian,
            torch.ones(1, 1, dtype=torch.float64),
            torch.tensor([0.0, 0.0], dtype=torch.float64),
            torch.tensor([0.0, 1.0], dtype=torch.float64),
        ),
    )
}
