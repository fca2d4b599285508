"""F6.VALUE, F6.REMARK. The bound in numbers, beside SAM's own: where it is vacuous, and whether the two are of one order.

Fisher SAM (``theorem``, all constants):  T_F = w/√n + w√((r²/2ρ² + kε + log(n/δ) + k log(1 + 2B√Λ/r))/2(n−1)).
SAM (Foret et al., ICLR 2021, the last lines of the proof of theorem 2 in appendix A.1, loss in [0, 1]):
    T_E = 1/√n + √((¼ k log(1 + (‖w‖²/γ²)(1 + √(log n/k))²) + ¼ + log(n/δ) + 2 log(6n + 3k))/(n−1)).
The theorem states it without the ¼ of the first term and with all others four times as large (``sam_stated``): twice as much.

Claim F6.VALUE (ours): for k ≥ 2(n−1)/g, g = min_t [t²/2 + log(1 + 2b/t)] and b = B√Λ/γ, T_F ≥ w: the bound is vacuous,
whichever r is chosen, in the bound's own favour ε = 0. For b = 1, 10, 100 that is k ≥ 1.3 n, 0.6 n, 0.3 n. Verdict: holds.
Claim F6.REMARK: Kim et al., Fisher SAM, ICML 2022, remark 3.3: the complexity terms are asymptotically identical up to
constants. Verdict: holds, in n, k and δ at fixed geometry. The constants are different in kind: SAM's has ‖w‖ of the solution,
for its priors' variances form a grid; Fisher SAM's has the diameter of Θ and the largest eigenvalue of F on it, set beforehand.

Derivation. VALUE: with t = r/γ, r²/2ρ² = t²(√k + √log n)²/2 ≥ kt²/2, so X ≥ k(t²/2 + log(1 + 2b/t)) ≥ kg ≥ 2(n−1). The minimum
solves t²(t + 2b) = 2b. REMARK: the squares of both roots, times n − 1, lie between multiples of k + log(n/δ). For Fisher SAM's
from above see ``final_step``; SAM's is ≥ ¼ k log(1 + v²) + log(n/δ), v = ‖w‖/γ, and by (1+s)² ≤ 2(1+s²), log(1+x+y) ≤
log(1+x) + y/(1+x), s² = log n/k, and 2 log(6n+3k) ≤ 2(log 9 + log n + log k) ≤ 2 log n + 4.4 k, as log k ≤ k − 1, it is
≤ k(¼ log(1 + 2v²) + 5) + 13/4 log(n/δ). SAM's comes from KL(N(w, σ²I) ‖ N(0, s²I)), least at s² = σ² + ‖w‖²/k.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import sympy as sp
from scipy.optimize import brentq

from theory.claim import Claim
from theory.drawing import Axes
from theory.pac_bayes import final_step
from theory.pac_bayes.inputs import chance, count, positive
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge


def derive() -> dict[str, sp.Eq]:
    """Where the exchange of fit and cover is best; SAM's k log(1 + ‖w‖²/kσ²) from its Gaussian KL."""
    t, b, k, s, v, w = sp.symbols("t b k s v w", positive=True)  # v = σ², s = the prior's variance, w = ‖w‖²
    g = t**2 / 2 + sp.log(1 + 2 * b / t)
    best = prove(sp.together(g.diff(t)), (t**2 * (t + 2 * b) - 2 * b) / (t * (t + 2 * b)))
    kl = ((k * v + w) / s - k + k * sp.log(s / v)) / 2
    variance = sp.solve(kl.diff(s), s)[0]
    least = prove(sp.expand_log(kl.subs(s, variance), force=True), k * sp.log((v + w / k) / v) / 2)
    x = sp.Symbol("x", positive=True)
    return {
        r"\tfrac{d}{dt}\bigl[\tfrac{t^2}2 + \log(1+\tfrac{2b}t)\bigr] = \frac{t^2(t+2b) - 2b}{t(t+2b)}": best,
        r"\min_s\mathrm{KL}(N(w,\sigma^2I)\|N(0,s^2I)) = \tfrac k2\log\bigl(1 + \tfrac{\|w\|^2}{k\sigma^2}\bigr)": least,
        r"s^2 = \sigma^2 + \|w\|^2/k": prove(variance, v + w / k),
        r"2(1+x^2) - (1+x)^2 = (1-x)^2": prove(2 * (1 + x**2) - (1 + x) ** 2, (1 - x) ** 2),
    }


@dataclass(frozen=True)
class Terms:
    """tail: w/√n, for the mass outside the ball or ellipsoid; root: the complexity's."""

    tail: float
    root: float

    @property
    def total(self) -> float:
        return self.tail + self.root


def fisher_sam(constants: final_step.Instance) -> Terms:
    """What theorem 3.2 adds to l_FSAM, with the corrections of ``theorem``; l_max is w."""
    width, n = constants.l_max, constants.samples
    return Terms(width / math.sqrt(n), width * math.sqrt(constants.complexity / (2 * (n - 1))))


def _sams_logarithms(dimension: int, samples: int, delta: float, rho: float, norm: float) -> tuple[float, float, float]:
    """k log(1 + (‖w‖²/ρ²)(1 + √(log n/k))²), log(n/δ) and log(6n + 3k)."""
    k, n = count("dimension", dimension), count("samples", samples, 2)
    chance("delta", delta)
    positive("rho", rho)
    if not (math.isfinite(norm) and norm >= 0):
        raise ValueError(f"norm = {norm} is not the length of a parameter; pass a finite number that is not negative.")
    inflated = (norm / rho * (1 + math.sqrt(math.log(n) / k))) ** 2
    return k * math.log1p(inflated), math.log(n / delta), math.log(6 * n + 3 * k)


def sam(dimension: int, samples: int, delta: float, rho: float, norm: float) -> Terms:
    """What the proof of SAM's theorem adds to its loss in [0, 1]. rho: its ball's radius; norm: ‖w‖."""
    kl, confidence, grid = _sams_logarithms(dimension, samples, delta, rho, norm)
    inner = kl / 4 + 1 / 4 + confidence + 2 * grid
    return Terms(1 / math.sqrt(samples), math.sqrt(inner / (samples - 1)))


def sam_stated(dimension: int, samples: int, delta: float, rho: float, norm: float) -> float:
    """The root that SAM's theorem states, without its O(1)."""
    kl, confidence, grid = _sams_logarithms(dimension, samples, delta, rho, norm)
    return math.sqrt((kl + 4 * confidence + 8 * grid) / (samples - 1))


def exchange(b: float) -> tuple[float, float]:
    """(t, g): the r/γ that makes t²/2 + log(1 + 2b/t) least, and this least value."""
    positive("b", b)
    t = brentq(lambda t: t**2 * (t + 2 * b) - 2 * b, 0, 1 + 2 * b, xtol=1e-15)
    return float(t), t**2 / 2 + math.log1p(2 * b / t)


@dataclass(frozen=True)
class Instance:
    """constants: the theorem's; norm: ‖w‖ for SAM's."""

    constants: final_step.Instance
    norm: float

    def __post_init__(self) -> None:
        positive("norm", self.norm)

    @property
    def b(self) -> float:
        """B√Λ/γ."""
        return self.constants.diameter * math.sqrt(self.constants.largest) / self.constants.gamma


def instance(seed: int) -> Instance:
    """The constants of ``final_step``, more than a thousand samples, and a norm within the diameter."""
    rng = np.random.default_rng([seed, 1])
    constants = final_step.instance(seed)
    constants = replace(constants, samples=int(10 ** rng.uniform(3.3, 7)))
    return Instance(constants, constants.diameter * float(rng.uniform(0.3, 1)))


def check(instance: Instance, altered: bool = False) -> Verdict:
    """F6.VALUE at the smallest such k, over a grid of r: w over the root. Altered: vacuous from a quarter of that k on."""
    best, g = exchange(instance.b)
    wanted = 2 * (instance.constants.samples - 1) / g
    k = max(1, math.ceil(wanted / (4 if altered else 1)))
    values = []
    for t in (best, *np.geomspace(best / 30, best * 30, 41).tolist()):
        radius = t * instance.constants.gamma
        tried = replace(instance.constants, dimension=k, radius=radius, epsilon=0.0)
        values.append(fisher_sam(tried).root / tried.l_max)
    case = f"n = {instance.constants.samples}, b = {instance.b:.4g}, k = {k}: the root is {min(values):.6g} w"
    return judge([Trial(1 / min(values), 1 + 1e-12, case)])


def check_order(instance: Instance, altered: bool = False) -> Verdict:
    """F6.REMARK: the ratio of squared roots over decades of n and k, in units of its bounds. Altered: the ratio is 1 ± 1 %."""
    i = replace(instance.constants, l_max=1.0)
    v, t = instance.norm / i.gamma, i.radius / i.gamma
    cover = i.log_cover / i.dimension
    low = min(t**2 / 2 + i.epsilon + cover, 1) / 2 / max(math.log1p(2 * v**2) / 4 + 5, 13 / 4)
    high = (1 + t**2 + i.epsilon + cover) / 2 / min(math.log1p(v**2) / 4, 1)
    trials = []
    for n in (10**2, 10**5, 10**8):
        for k in (10, 10**4, 10**7):
            tried = replace(i, samples=n, dimension=k)
            ratio = (fisher_sam(tried).root / sam(k, n, i.delta, i.gamma, instance.norm).root) ** 2
            error = abs(ratio - 1) / 0.01 if altered else max(ratio / high, low / ratio)
            trials.append(Trial(error, 1 + 1e-12, f"n = {n}, k = {k}: T_F²/T_E² = {ratio:.4g}, bounds {low:.4g}, {high:.4g}"))
    return judge(trials)


def draw(axes: Axes) -> None:
    """Both complexity terms over k/n for n = 50,000, γ = 0.05, ‖w‖ = 20, and b = B√Λ/γ of two sizes; 1 is vacuous."""
    n = 50_000
    sizes = np.geomspace(1e-3, 30, 40) * n
    for b, style in ((10.0, "-"), (1e4, "--")):
        t, _ = exchange(b)
        case = final_step.Instance(1, n, 0.05, 0.05, t * 0.05, 0.0, b * 0.05, 1.0)
        values = [fisher_sam(replace(case, dimension=int(k))).total for k in sizes]
        axes.loglog(sizes / n, values, f"C0{style}", label=f"Fisher SAM, B√Λ/γ = {b:g}")
    axes.loglog(sizes / n, [sam(int(k), n, 0.05, 0.05, 20.0).total for k in sizes], "C1", label="SAM, ‖w‖/γ = 400")
    axes.axhspan(1, 30, color="C3", alpha=0.12, lw=0)
    axes.text(1.2e-3, 14, "vacuous for a loss in [0, 1]", color="C3")
    axes.set(xlabel="k/n", ylabel="what the theorem adds to the loss", ylim=(0.03, 30))
    axes.legend(loc="lower right")


CLAIMS = {
    "F6.VALUE": Claim(
        source="ours, after Kim et al. 2022, theorem A.4",
        text="for k ≥ 2(n−1)/g, g = min_t [t²/2 + log(1 + 2B√Λ/γt)], the bound exceeds the loss's own maximum",
        tex=r"k \ge \frac{2(n-1)}{g} \;\Rightarrow\; \text{root} \ge w,"
        r"\quad g = \min_t\Bigl[\tfrac{t^2}{2} + \log\bigl(1 + \tfrac{2B\sqrt\Lambda}{\gamma t}\bigr)\Bigr]",
        outcome=Outcome.HOLDS,
        check=check,
    ),
    "F6.REMARK": Claim(
        source="Kim et al. 2022, remark 3.3, and Foret et al. 2021, appendix A.1",
        text="the complexity term is that of SAM's bound up to constants: both squares are of order (k + log(n/δ))/(n−1)",
        tex=r"T_F^2 \asymp T_E^2 \asymp \frac{k + \log\frac n\delta}{n-1}",
        outcome=Outcome.HOLDS,
        check=check_order,
    ),
}
