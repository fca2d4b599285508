"""F2a. What the missing ½ means for radii: the balls of eq. 6 and of eq. 8 differ by √2.

Claim: Kim et al., Fisher SAM, ICML 2022, section 3: for small ε, max l(θ + ε) over d(θ + ε, θ) ≤ γ² (eq. 6), where d is
E_x KL(p_{θ+ε} ‖ p_θ), "can be written as" the same over εᵀFε ≤ γ² (eq. 8).
Verdict: holds with a correction. To leading order the ball of eq. 6 is εᵀFε ≤ 2γ². So eq. 8 is that ball shrunk by √2: on
every ray its edge spends half of the budget, ½γ², and raises the linearised loss by γ‖g‖* in place of √2 γ‖g‖*. In other
words eq. 8 with radius ρ is the budget d ≤ ½ρ².

Derivation. On a ray θ + tε with ‖ε‖_F = 1, KL = ½t² + κt³ + O(t⁴), κ = ¼F′ + ¹⁄₁₂ E[s³] (F2). Solved for t,
    KL = γ²    ⇒    t = √2 γ − 2κγ² + O(γ³),        whereas    εᵀFε = γ²    ⇒    t = γ.
The ratio is √2 up to O(γ), and exactly where KL is quadratic: a Gaussian whose mean is linear in θ. The factor is one for
all rays, so ε* keeps its direction and only γ changes its meaning: γ tuned for one equation is γ√2 or γ/√2 for the other.
Far from θ the two are not related: KL(p_{θ+ε} ‖ p_θ) ≤ −log min p_θ for a categorical p, so that for larger γ² the ball
of eq. 6 is the whole space.
Assumptions: as for F2, and a direction that F sees.
"""

import math

import sympy as sp
import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from theory.claim import Claim
from theory.drawing import Axes
from theory.kl_expansion import LOWEST, Gaussian, Instance, Softmax, instance, lagrange, unit
from theory.normal import average
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge, undecided

__all__ = ["CLAIMS", "Instance", "check", "crossing", "derive", "draw", "instance"]


def derive() -> dict[str, sp.Eq]:
    """The series of KL inverted; a Gaussian mean, where √2 is exact; the linearised rise at either edge."""
    t, kappa, y, mean, shift, z = sp.symbols("t kappa y mu delta z", real=True)
    radius, fisher, std = sp.symbols("gamma F sigma", positive=True)
    edge = sp.sqrt(2 / fisher) * radius - 2 * kappa * radius**2 / fisher**2
    spent = sp.expand((fisher * t**2 / 2 + kappa * t**3).subs(t, edge))
    printed = radius / sp.sqrt(fisher)

    normal = sp.exp(-(z**2) / 2) / sp.sqrt(2 * sp.pi)
    density, moved = (normal.subs(z, (y - m) / std) / std for m in (mean, mean + shift))

    def expectation(values: sp.Expr, centre: sp.Expr) -> sp.Expr:
        """Over y = centre + σz with z standard normal."""
        return average(values.subs(y, centre + std * z), z)

    log_ratio = sp.expand_log(sp.log(moved), force=True) - sp.expand_log(sp.log(density), force=True)
    kl = expectation(log_ratio, mean + shift)
    information = expectation(sp.log(density).diff(mean) ** 2, mean)
    return {
        r"t = \sqrt{2/F}\,\gamma - 2\kappa F^{-2} \gamma^2 \Rightarrow"
        r" \tfrac12 F t^2 + \kappa t^3 = \gamma^2 + O(\gamma^4)": prove(
            sum(spent.coeff(radius, k) * radius**k for k in range(4)), radius**2
        ),
        r"\lim_{\gamma\to0} t_6 / t_8 = \sqrt2": prove((edge / printed).expand().subs(radius, 0), sp.sqrt(2)),
        r"F t_8^2 = \gamma^2 \Rightarrow \tfrac12 F t_8^2 + \kappa t_8^3 = \tfrac12 \gamma^2 + O(\gamma^3)": prove(
            (fisher * t**2 / 2 + kappa * t**3).subs(t, printed).coeff(radius, 2), sp.S(1) / 2
        ),
        r"\mathrm{KL}(N(\mu+\delta, \sigma^2) \| N(\mu, \sigma^2)) = \tfrac12 \delta^2/\sigma^2": prove(
            kl, shift**2 / (2 * std**2)
        ),
        r"\mathrm{KL} = \gamma^2 \text{ at } \delta = \sqrt2\,\gamma\sigma": prove(
            kl.subs(shift, sp.sqrt(2) * radius * std), radius**2
        ),
        r"F \delta^2 = \gamma^2 \text{ at } \delta = \gamma\sigma": prove(information * (radius * std) ** 2, radius**2),
    }


def crossing(instance: Instance, epsilon: Tensor, radius: Tensor) -> Tensor:
    """The t at which KL(tε) = radius², on the branch where KL grows like ½t²; NaN where there is none. Shape of radius."""

    def root(t: Tensor) -> Tensor:
        return instance.kl(t * epsilon).sqrt()

    t = math.sqrt(2) * radius
    for _ in range(20):
        slope, value = vmap(grad_and_value(root))(t)
        # √KL is nearly linear in t. From √2 γ Newton's method never passes the root where √KL is concave or convex.
        t = t - (value - radius) / slope
        if (abs(value / radius - 1) < 3e-9).all():
            break
    return torch.where(abs(value / radius - 1) < 3e-9, t, torch.nan)


def check(instance: Instance, altered: bool = False) -> Verdict:
    """t/γ at which KL(tε) = γ², against √2, and KL(γε)/γ², against ½, for ‖ε‖_F = 1 and γ = 2⁻¹² … 2⁻⁴.

    Printed: both are 1. Altered: 2 and ¼, as if radii were squared. Errors are in units of what Lagrange's remainder of KL
    allows, C t³.
    """
    epsilon = unit(instance)
    if isinstance(epsilon, Verdict):
        return epsilon
    radius = 2.0 ** torch.arange(-12.0, -3, dtype=torch.float64)
    points = 2.0 ** torch.linspace(LOWEST, -3, 112, dtype=torch.float64)
    # Beyond 2γ there is no bound. Clamped to it, a late crossing is refuted if the bound says that it is late.
    edge = torch.fmin(crossing(instance, epsilon, radius), 2 * radius)
    bound = 2 * lagrange(lambda t: instance.kl(t * epsilon), points)[torch.searchsorted(points, 2 * radius)]
    if not bound.isfinite().all():
        return undecided("a model whose KL does not overflow within ‖ε‖_F = 1/8")
    # The 1e-8 is for rounding in the log-ratios, of order t.
    slack = {
        # From |½t² − γ²| ≤ C t³.
        "KL = γ² at ‖ε‖_F = {:.6g} γ": 2 * (bound * edge + 1e-8) * (edge / radius) ** 2 / (edge / radius + math.sqrt(2)),
        "at ‖ε‖_F = γ, KL = {:.6g} γ²": bound * radius + 1e-8,
    }
    found = edge / radius, vmap(lambda t: instance.kl(t * epsilon))(radius) / radius**2

    def trials(*expected: float) -> list[Trial]:
        rows = [
            (f"γ = {r:.3g}: {text.format(value)}", abs(value - wanted) / allowed)
            for (text, allowances), values, wanted in zip(slack.items(), found, expected, strict=True)
            for r, value, allowed in zip(radius.tolist(), values.tolist(), allowances.tolist(), strict=True)
        ]
        return [Trial(error, 1.0, case) for case, error in rows]

    return judge(trials(2.0, 0.25) if altered else trials(math.sqrt(2), 0.5), printed=trials(1.0, 1.0))


def draw(axes: Axes) -> None:
    """t₆/t₈ over γ on a few models: it starts at √2, not at 1, and stays there for the mean of a Gaussian."""
    radius = torch.linspace(1e-3, 0.35, 60, dtype=torch.float64)
    for family, theta, direction, label in (
        (Softmax, [0.0, 0.0], [0.0, 1.0], "two classes, p = (½, ½)"),
        (Softmax, [2.0, 0.0], [0.0, 1.0], "two classes, towards the rare one"),
        (Softmax, [0.0, 2.0], [0.0, 1.0], "two classes, towards the frequent one"),
        (Gaussian, [0.0, 0.0], [1.0, 0.0], "Gaussian, along μ"),
        (Gaussian, [0.0, 0.0], [0.0, 1.0], "Gaussian, along log σ"),
    ):
        drawn = Instance(family, torch.ones(1, 1).double(), torch.tensor(theta).double(), torch.tensor(direction).double())
        epsilon = unit(drawn)
        assert isinstance(epsilon, Tensor)
        axes.plot(radius, crossing(drawn, epsilon, radius) / radius, label=label)
    axes.axhline(1, color="k", linestyle=":", label="1, as printed")
    axes.set(xlabel="γ", ylabel="radius of eq. 6 / radius of eq. 8", ylim=(0.9, 2.6))
    axes.set_yticks([1, math.sqrt(2), 2], ["1", "√2", "2"])
    axes.legend(loc="upper left", fontsize="small")


CLAIMS = {
    "F2a": Claim(
        source="Kim et al. 2022, eq. 6 and eq. 8",
        text="the ball d(θ + ε, θ) ≤ γ² is, for small ε, εᵀFε ≤ γ²",
        tex=r"\max_{d(\theta+\epsilon, \theta) \le \gamma^2} l(\theta + \epsilon)"
        r" = \max_{\epsilon^\top F \epsilon \le \gamma^2} l(\theta + \epsilon)",
        outcome=Outcome.CORRECTED,
        check=check,
        correction="it is εᵀFε ≤ 2γ²: the radii differ by √2, and eq. 8 spends half of the budget of eq. 6",
        correction_tex=r"d(\theta+\epsilon, \theta) \le \gamma^2 \iff \epsilon^\top F \epsilon \le 2\gamma^2 + O(\gamma^3)",
        smallest=Instance(Gaussian, torch.ones(1, 1).double(), torch.zeros(2).double(), torch.tensor([0.0, 1.0]).double()),
    ),
}
