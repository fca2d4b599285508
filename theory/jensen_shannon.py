"""F3. Both Kullback-Leibler divergences of the symmetrised one are ½ εᵀFε; neither vanishes.

Claim: Kim et al., Fisher SAM, ICML 2022, footnote 1: in J = ½ E_x[KL(p_{θ+ε} ‖ p_θ) + KL(p_θ ‖ p_{θ+ε})], called
Jensen-Shannon, the second term vanishes for small ε, by steps like those of appendix B; so J coincides, up to a constant
factor, with the first.
Verdict: holds with a correction. The conclusion is right, with constant 1, but not by that step: the second term is
½ εᵀFε as well, and J too. If it did vanish, the constant would be ½. What is written is Jeffreys' divergence, halved;
Jensen and Shannon's, with the midpoint of the two distributions in place of each second argument, is ⅛ εᵀFε.

The mistake: expanding only log p, to first order, as eq. 37 does, gives Σ p ⟨∇log p, ε⟩ = 0 for the second term. Its
leading term is what this drops, −Σ p ½ ∂²log p = ½F (F2). For the first term the same omission costs a factor 2.

Derivation, in the notation of F2: p(t) = p + at + ½bt² + O(t³) for each outcome, s = a/p, F′ = dF/dt. With x = p(t)/p − 1,
    KL(p ‖ p_t)   = Σ p [x − log(1+x)]            = Σ p (½x² − ⅓x³) + …  = ½F t² + (¼F′ − ¹⁄₁₂ E[s³]) t³ + O(t⁴)
    KL(p_t ‖ p)   = Σ p [(1+x) log(1+x) − x]      = Σ p (½x² − ⅙x³) + …  = ½F t² + (¼F′ + ¹⁄₁₂ E[s³]) t³ + O(t⁴)
    JS(p_t, p)    = ½ KL(p_t ‖ m) + ½ KL(p ‖ m)   = Σ p (⅛x² − ¹⁄₁₆x³) + … = ⅛F t² + ¹⁄₁₆ F′ t³ + O(t⁴),    m = ½(p + p_t).
So J = ½F t² + ¼F′ t³: being symmetric it has no skewness, and KL = J + ¹⁄₁₂ E[s³] t³.
Assumptions: as for F2.
"""

import math
from itertools import accumulate

import numpy as np
import sympy as sp
import torch
from torch import Tensor
from torch.func import vmap

from theory.claim import Claim
from theory.drawing import Axes
from theory.kl_expansion import LOWEST, Gaussian, Instance, Softmax, compared, instance, lagrange, unit
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge, undecided

__all__ = ["CLAIMS", "Instance", "check", "derive", "divergences", "draw", "instance"]


def derive() -> dict[str, sp.Eq]:
    """Three expansions to third order of a normalised family with three outcomes, and what eq. 37 leaves of the second."""
    t, p = sp.Symbol("t", real=True), sp.Symbol("p", positive=True)
    path = a, b, c = sp.symbols("a b c", real=True)
    old, slope, bend, jerk = (sp.symbols(f"{name}:2", positive=name == "p") for name in "pabc")
    columns = (*old, 1 - sum(old)), *((*x, -sum(x)) for x in (slope, bend, jerk))
    outcomes = [dict(zip((p, *path), column, strict=True)) for column in zip(*columns, strict=True)]
    new = p + a * t + b * t**2 / 2 + c * t**3 / 6

    def kl(left: sp.Expr, right: sp.Expr) -> sp.Expr:
        return left * sp.log(left / right)

    def taylor(term: sp.Expr, order: int = 3) -> sp.Expr:
        """The sum over outcomes of the term's expansion to that order."""
        terms = accumulate(range(order), lambda derivative, _: derivative.diff(t), initial=term)
        series = sp.expand(sum(derivative.subs(t, 0) * t**k / math.factorial(k) for k, derivative in enumerate(terms)))
        return sum(series.subs(outcome) for outcome in outcomes)

    fisher, skewness = taylor(new.diff(t) ** 2 / new, 1), taylor(a**3 / p**2, 0) * t**3
    second, growth = fisher.subs(t, 0) * t**2, fisher.diff(t).subs(t, 0) * t**3
    backward, middle = taylor(kl(p, new)), (p + new) / 2
    return {
        r"\mathrm{KL}(p_0 \| p_t) = \tfrac12 F t^2 + \bigl(\tfrac14 F' - \tfrac1{12} E[s^3]\bigr) t^3 + O(t^4)": prove(
            backward, second / 2 + growth / 4 - skewness / 12
        ),
        r"\tfrac12[\mathrm{KL}(p_t \| p_0) + \mathrm{KL}(p_0 \| p_t)] = \tfrac12 F t^2 + \tfrac14 F' t^3 + O(t^4)": prove(
            (taylor(kl(new, p)) + backward) / 2, second / 2 + growth / 4
        ),
        r"\mathrm{JS}(p_t, p_0) = \tfrac18 F t^2 + \tfrac1{16} F' t^3 + O(t^4)": prove(
            taylor(kl(new, middle) + kl(p, middle)) / 2, second / 8 + growth / 16
        ),
        r"-\textstyle\sum_y p\, \partial_t \log p = 0, \text{ all that a first-order } \log p \text{ leaves}": prove(
            taylor(kl(p, new), 1), sp.S(0)
        ),
    }


def log_ratio(instance: Instance, epsilon: Tensor) -> tuple[Tensor, Tensor]:
    """r = log p_{θ+ε}(y) − log p_θ(y) and weights, both (n, Y), with E_{p_θ}[f] = Σ w f(y), on 40 nodes for a Gaussian."""
    old, new = instance.outputs(instance.theta), instance.outputs(instance.theta + epsilon)
    if instance.family is Softmax:
        return new.log_softmax(1) - old.log_softmax(1), old.softmax(1)
    nodes, masses = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(40))
    y = old[:, :1] + old[:, 1:].exp() * nodes
    return Gaussian.log_prob(new, y) - Gaussian.log_prob(old, y), (masses / masses.sum()).expand(len(old), -1)


def divergences(instance: Instance, epsilon: Tensor) -> Tensor:
    """KL(p_{θ+ε} ‖ p_θ), KL(p_θ ‖ p_{θ+ε}) and Jensen-Shannon proper, averaged over x. (3,)."""
    old, new = instance.outputs(instance.theta), instance.outputs(instance.theta + epsilon)
    ratio, weights = log_ratio(instance, epsilon)
    # With m = (p + q)/2, r = log(q/p) and h = log(m/p): ½ [p log(p/m) + q log(q/m)] = ½ p [eʳ(r − h) − h].
    half = torch.logaddexp(ratio, torch.zeros_like(ratio)) - math.log(2)
    jensen_shannon = (weights * (ratio.exp() * (ratio - half) - half)).sum(1).mean() / 2
    return torch.stack([instance.family.kl(new, old).mean(), instance.family.kl(old, new).mean(), jensen_shannon])


def check(instance: Instance, altered: bool = False) -> Verdict:
    """|D(tε) − c t²| ≤ C t³ for t = 2⁻¹² … 2⁻⁴ and ‖ε‖_F = 1, with c = ½ for the second term and J, ⅛ for JS.

    The printed step has c = 0 for the second term. Altered: c = ¼ for J, as if it had vanished. In E_{p_θ}[ψ(r)] each ψ is
    c r² up to |r|³ e^{|r|}/4, and E r² is t² up to Lagrange's remainder: the allowance, in units of which errors are.
    """
    epsilon = unit(instance)
    if isinstance(epsilon, Verdict):
        return epsilon

    def moment(t: Tensor) -> Tensor:
        ratio, weights = log_ratio(instance, t * epsilon)
        return (weights * ratio**2).sum(1).mean()

    points = 2.0 ** torch.linspace(LOWEST, -4, 55, dtype=torch.float64)
    ladder = points[-13:]
    bend = lagrange(moment, points)[-13:]
    ratio, weights = (part for part in vmap(lambda t: log_ratio(instance, t * epsilon))(ladder))
    remainder = (weights * ratio.abs() ** 3 * ratio.abs().exp()).sum(2).mean(1) / 4
    # Twice the half of the bend that ½ E r² has. The t² is for rounding in r, of order t.
    allowance = remainder + bend * ladder**3 + 1e-8 * ladder**2
    if not allowance.isfinite().all():
        return undecided("a model whose divergences do not overflow within ‖ε‖_F = 1/16")
    if not (abs((weights * ratio.exp()).sum(2) - 1) < 1e-9).all():  # exactly 1, were the quadrature exact
        return undecided("densities whose ratio 40 nodes resolve")
    forward, backward, jensen_shannon = vmap(lambda t: divergences(instance, t * epsilon))(ladder).T

    def trials(name: str, values: Tensor, coefficient: float) -> list[Trial]:
        return compared(name, values, coefficient, ladder, allowance)

    second = "KL(p_θ ‖ p_{θ+ε})"
    found = trials(second, backward, 0.5) + trials("Jensen-Shannon", jensen_shannon, 0.125)
    found += trials("½ [KL + KL swapped]", (forward + backward) / 2, 0.25 if altered else 0.5)
    return judge(found, printed=trials(second, backward, 0.0))


def draw(axes: Axes) -> None:
    """Divergence over ‖ε‖_F² against ‖ε‖_F: both KLs meet at ½, Jensen-Shannon's own is at ⅛, and nothing goes to 0."""
    logits, direction = np.log([[0.7], [0.2], [0.1]]), np.array([-0.3, -1.0, 2.0])
    inputs, theta, along = (torch.from_numpy(part) for part in (np.ones((1, 1)), logits.ravel(), direction))
    drawn = Instance(Softmax, inputs, theta, along)
    epsilon = unit(drawn)
    t = torch.linspace(1e-3, 1, 100, dtype=torch.float64)
    forward, backward, jensen_shannon = (vmap(lambda t: divergences(drawn, t * epsilon))(t) / t[:, None] ** 2).T
    axes.plot(t, forward, label="KL(p_{θ+ε} ‖ p_θ)")
    axes.plot(t, backward, label="KL(p_θ ‖ p_{θ+ε}), said to vanish")
    axes.plot(t, (forward + backward) / 2, "--", label="J, their mean")
    axes.plot(t, jensen_shannon, label="Jensen-Shannon, with the midpoint")
    for height, label in ((1 / 2, "½"), (1 / 8, "⅛")):
        axes.axhline(height, color="k", linewidth=0.5)
        axes.annotate(label, (1.0, height), xytext=(4, 2), textcoords="offset points")
    axes.set(xlabel="‖ε‖_F", ylabel="divergence / ‖ε‖_F²", xlim=(0, 1.06), ylim=(0, 1.5))
    axes.legend(loc="upper left", fontsize="small")


CLAIMS = {
    "F3": Claim(
        source="Kim et al. 2022, footnote 1",
        text="in ½ [KL(p_{θ+ε} ‖ p_θ) + KL(p_θ ‖ p_{θ+ε})] the second term vanishes, which leaves a multiple of the first",
        tex=r"\tfrac12[\mathrm{KL}(p_{\theta+\epsilon} \| p_\theta) + \mathrm{KL}(p_\theta \| p_{\theta+\epsilon})]"
        r" \propto \mathrm{KL}(p_{\theta+\epsilon} \| p_\theta),\quad \mathrm{KL}(p_\theta \| p_{\theta+\epsilon}) \to 0",
        outcome=Outcome.CORRECTED,
        check=check,
        correction="both terms are ½ εᵀFε, and so is their mean, Jeffreys' divergence halved; Jensen-Shannon is ⅛ εᵀFε",
        correction_tex=r"\mathrm{KL}(p_\theta \| p_{\theta+\epsilon}) = \tfrac12 \epsilon^\top F \epsilon + O(\|\epsilon\|^3),"
        r"\quad \mathrm{JS} = \tfrac18 \epsilon^\top F \epsilon + O(\|\epsilon\|^3)",
        smallest=Instance(Gaussian, torch.ones(1, 1).double(), torch.zeros(2).double(), torch.tensor([0.0, 1.0]).double()),
    ),
}
