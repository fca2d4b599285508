"""F6.31. A Gaussian stays in the ball: ‖z‖² ≤ kρ²(1 + √(log n/k))² with probability at least 1 − 1/√n.

Claim: Kim et al., Fisher SAM, ICML 2022, eq. 31, after Laurent and Massart 2000; z ∼ N(0, ρ²I) in k dimensions.
Verdict: holds, for every k ≥ 1 and n ≥ 1, and with room: the same step proves 1/√n times e^{−k(s − log(1+s))}, s = √(log n/k).

Derivation. Laurent and Massart's lemma P(X ≥ k + 2√(kt) + 2t) ≤ e^{−t} at t = ½ log n gives the smaller threshold
k + √(2k log n) + log n, so the claim follows. It is shorter from Chernoff: E e^{λz²} = (1−2λ)^{−1/2}, hence for x > k
    log P(χ²ₖ ≥ x) ≤ min_λ [−λx − (k/2) log(1−2λ)] = −½ (x − k − k log(x/k)),    at λ = ½(1 − k/x).
At x = k(1+s)² this is −½ks² − k(s − log(1+s)): the first term is −½ log n, and the second is not positive, because
s − log(1+s) has slope s/(1+s). The whitening before eq. 32, u = F^½ε, needs only εᵀFε = ‖u‖², which is an identity.
Assumptions: none beyond n ≥ 1, k ≥ 1.
"""

import math
from dataclasses import dataclass

import numpy as np
import sympy as sp
from scipy.special import gammaincc

from theory.claim import Claim
from theory.drawing import Axes
from theory.pac_bayes.inputs import count
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge


def derive() -> dict[str, sp.Eq]:
    """The moment-generating function by integration, Chernoff's optimum, its value at the threshold; Laurent and Massart."""
    z = sp.Symbol("z", real=True)
    k, s, x, w, t = sp.symbols("k s x w t", positive=True)
    # λ = ½ − w/2 with w > 0 makes the integral converge.
    density = sp.exp((1 - w) * z**2 / 2 - z**2 / 2) / sp.sqrt(2 * sp.pi)
    generating = prove(sp.integrate(density, (z, -sp.oo, sp.oo)), 1 / sp.sqrt(w))
    exponent = -(1 - w) * x / 2 - k * sp.log(w) / 2
    best = sp.solve(exponent.diff(w), w)[0]
    chernoff = prove(sp.expand_log(exponent.subs(w, best)), -(x - k - k * sp.expand_log(sp.log(x / k))) / 2)
    at = sp.expand_log(exponent.subs(w, best).subs(x, k * (1 + s) ** 2), force=True)
    threshold = prove(at, -k * s**2 / 2 - k * (s - sp.log(1 + s)))
    log_n = 2 * t
    room = k * (1 + sp.sqrt(log_n / k)) ** 2 - (k + 2 * sp.sqrt(k * t) + 2 * t)
    return {
        r"E\,e^{\lambda z^2} = (1-2\lambda)^{-1/2}": generating,
        r"\min_\lambda\,[-\lambda x - \tfrac k2\log(1-2\lambda)] = -\tfrac12(x - k - k\log\tfrac xk)": chernoff,
        r"\ldots = -\tfrac12 k s^2 - k\,(s - \log(1+s)) \text{ at } x = k(1+s)^2": threshold,
        r"\tfrac{d}{ds}(s - \log(1+s)) = \tfrac{s}{1+s}": prove((s - sp.log(1 + s)).diff(s), s / (1 + s)),
        r"k(1+\sqrt{\log n/k})^2 - (k + 2\sqrt{kt} + 2t) = (2\sqrt2-2)\sqrt{kt},\ t = \tfrac12\log n": prove(
            sp.expand(room), 2 * (sp.sqrt(2) - 1) * sp.sqrt(k * t)
        ),
    }


@dataclass(frozen=True)
class Instance:
    """dimension: k; samples: n. ρ cancels."""

    dimension: int
    samples: int

    def __post_init__(self) -> None:
        count("dimension", self.dimension)
        count("samples", self.samples)


def instance(seed: int) -> Instance:
    """k from 10 to ten million, n from 100 to a million."""
    rng = np.random.default_rng(seed)
    return Instance(int(10 ** rng.uniform(1, 7)), int(10 ** rng.uniform(2, 6)))


def radius(dimension: int, samples: int) -> float:
    """γ/ρ = √k + √log n."""
    return math.sqrt(count("dimension", dimension)) + math.sqrt(math.log(count("samples", samples)))


def tail(dimension: int, square: float) -> float:
    """P(χ²ₖ > square)."""
    return float(gammaincc(dimension / 2, square / 2))


def check(instance: Instance, altered: bool = False) -> Verdict:
    """The exact tail in units of its bounds, 1/√n and the sharper one of Chernoff. Altered: γ² = ρ²(k + log n)."""
    k, log_n = instance.dimension, math.log(instance.samples)
    s = math.sqrt(log_n / k)
    outside = tail(k, k + log_n if altered else k * (1 + s) ** 2)
    bounds = {"1/√n": math.exp(-log_n / 2)}
    if not altered:
        bounds["1/√n e^{−k(s − log(1+s))}"] = math.exp(-log_n / 2 - k * (s - math.log1p(s)))
    # The incomplete Gamma function at k = 10⁷ is good to about 1e-9.
    return judge(
        [
            Trial(outside / bound, 1 + 1e-8, f"k = {k}, n = {instance.samples}: the tail is {outside:.3g}, not ≤ {name}")
            for name, bound in bounds.items()
        ]
    )


def draw(axes: Axes) -> None:
    """The exact tail over n for three k, the claim above it, and what the altered radius leaves outside."""
    samples = np.geomspace(2, 1e6, 60).astype(int)
    axes.loglog(samples, samples**-0.5, "k", label="1/√n (eq. 31)")
    for k, colour in ((1, "C0"), (100, "C1"), (10**6, "C2")):
        axes.loglog(samples, [tail(k, radius(k, n) ** 2) for n in samples], colour, label=f"γ = ρ(√k + √log n), k = {k:,}")
    axes.loglog(samples, [tail(10**6, 10**6 + math.log(n)) for n in samples], "C2:", label="γ² = ρ²(k + log n), k = 1,000,000")
    axes.set(xlabel="n", ylabel="probability outside the ellipsoid", ylim=(1e-14, 2))
    axes.legend(loc="lower left")


CLAIMS = {
    "F6.31": Claim(
        source="Kim et al. 2022, eq. 31, after Laurent and Massart 2000",
        text="z ∼ N(0, ρ²I): ‖z‖² ≤ kρ²(1 + √(log n/k))² with probability at least 1 − 1/√n",
        tex=r"P\bigl(\|z\|^2 \le k\rho^2(1+\sqrt{\log n/k})^2\bigr) \ge 1 - \tfrac1{\sqrt n}, \quad z\sim N(0,\rho^2 I)",
        outcome=Outcome.HOLDS,
        check=check,
    ),
}
