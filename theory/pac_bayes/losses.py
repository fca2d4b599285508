"""F6.32. From the average over the Gaussian to the worst case in the ellipsoid: what it takes of the loss.

Claim: Kim et al., Fisher SAM, ICML 2022, eq. 32: with M the largest loss in the ellipsoid and l_max the loss bound,
    E l_S(θ+ε) ≤ (1 − 1/√n) M + l_max/√n ≤ M + l_max/√n.
Verdict: holds with a correction. The first step takes l ≤ l_max everywhere, and then holds. The second takes M ≥ 0, which a
bound from above does not give: the negative log-likelihood of a density may be negative. With losses in [l_min, l_max],
    E l_S(θ+ε) ≤ M + (l_max − l_min)/√n.
Cross-entropy is not negative, but has no l_max: on a linear model it grows along every ray that leaves a sample's half-space,
and the Gaussian has mass everywhere. For it the printed right side is infinite. The zero-one loss satisfies all of it, with
l_max = 1.

Derivation. p = P(outside) ≤ 1/√n (``tail``), and more than 1/n for few dimensions and many samples. E l ≤ (1−p)M + p l_max = M
+ p(l_max − M), and l_max ≥ M makes this largest at p = 1/√n. M − (1 − 1/√n)M = M/√n has the sign of M. And (1 − 1/√n)M +
l_max/√n = M + (l_max − M)/√n with M ≥ l_min.
Assumptions: l_min ≤ l ≤ l_max on all of ℝᵏ, for the Gaussian leaves Θ.
"""

import math
from dataclasses import dataclass

import numpy as np
import sympy as sp

from theory.claim import Claim
from theory.drawing import Axes
from theory.pac_bayes.inputs import count
from theory.pac_bayes.tail import radius, tail
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge, undecided


def derive() -> dict[str, sp.Eq]:
    """E l of the instances' loss for k = 2, integrated over the Gaussian's length; cross-entropy along a ray."""
    M, top = sp.symbols("M l_max", real=True)
    g, length = sp.symbols("gamma t", positive=True)
    density = length * sp.exp(-(length**2) / 2)
    mean = M * sp.integrate(density, (length, 0, g)) + top * sp.integrate(density, (length, g, sp.oo))
    u = sp.Symbol("u", positive=True)
    grows = prove(sp.limit(u / sp.log(1 + sp.exp(u)), u, sp.oo), sp.S(1))
    return {
        r"E\,l = M + p\,(l_{\max} - M), \quad p = P(\|z\| > \gamma) = e^{-\gamma^2/2},\ k=2": prove(
            mean, M + sp.exp(-(g**2) / 2) * (top - M)
        ),
        r"\lim_{u\to\infty} \log(1+e^u)/u = 1": grows,
    }


@dataclass(frozen=True)
class Instance:
    """A loss that depends on ‖u‖² = εᵀFε only: ``inside`` in the ellipsoid, ``outside`` out of it; k, n."""

    dimension: int
    samples: int
    inside: float
    outside: float

    def __post_init__(self) -> None:
        count("dimension", self.dimension)
        count("samples", self.samples)
        if not (math.isfinite(self.inside) and math.isfinite(self.outside)):
            raise ValueError("A loss without a bound leaves eq. 32 without content: clip it, or use the zero-one loss.")


def instance(seed: int) -> Instance:
    """A loss below zero in the ellipsoid and larger outside, in few dimensions with many samples: there P(outside) > 1/n."""
    rng = np.random.default_rng(seed)
    inside, n = -float(rng.uniform(0.5, 5)), int(10 ** rng.uniform(7, 9))
    return Instance(int(rng.integers(1, 6)), n, inside, inside + float(rng.uniform(0.1, 1)) * -inside)


def check(instance: Instance, altered: bool = False) -> Verdict:
    """Both steps with the exact average, against the printed second step. Errors are excesses over the largest |loss|.

    Altered: 1/n in place of 1/√n, in both.
    """
    M, share = instance.inside, 1 / math.sqrt(instance.samples)
    ours = share**2 if altered else share
    top, low = max(M, instance.outside), min(M, instance.outside)
    outside = tail(instance.dimension, radius(instance.dimension, instance.samples) ** 2)
    mean = M + outside * (instance.outside - M)
    scale = max(abs(top), abs(low))
    if scale == 0:
        return undecided("a loss that is not zero everywhere")

    def trial(bound: float, name: str) -> Trial:
        case = f"k = {instance.dimension}, n = {instance.samples}: E l = {mean:.8g}, {name} = {bound:.8g}"
        return Trial((mean - bound) / scale, 1e-14, case)

    printed = trial(M + top * share, "M + l_max/√n")
    p = "1/n" if altered else "1/√n"
    first = trial((1 - ours) * M + top * ours, f"(1 − {p})M + {p} l_max")
    return judge([first, trial(M + (top - low) * ours, f"M + {p} (l_max − l_min)")], printed=[printed])


def draw(axes: Axes) -> None:
    """Over n: the average of a loss that is −1 in the ellipsoid and −½ outside, with both bounds."""
    samples = np.unique(np.geomspace(2, 1000, 40).astype(int))
    shares = samples**-0.5
    mean = [-1 + tail(3, radius(3, int(n)) ** 2) / 2 for n in samples]
    axes.semilogx(samples, -1 + 0.5 * shares, "C0", label="M + (l_max − l_min)/√n")
    axes.semilogx(samples, mean, "k", label="E l(θ + ε)")
    axes.semilogx(samples, -1 - 0.5 * shares, "C3", label="printed (eq. 32): M + l_max/√n")
    axes.set(xlabel="n", ylabel="loss −1 inside, −½ outside; k = 3", ylim=(-1.4, -0.45))
    axes.legend(loc="upper right")


CLAIMS = {
    "F6.32": Claim(
        source="Kim et al. 2022, eq. 32",
        text="E l_S(θ+ε) ≤ (1 − 1/√n) M + l_max/√n ≤ M + l_max/√n, M the largest loss in the ellipsoid",
        tex=r"E\,l_S(\theta+\epsilon) \le (1-\tfrac1{\sqrt n})M + \tfrac{l_{\max}}{\sqrt n} \le M + \tfrac{l_{\max}}{\sqrt n},"
        r"\quad M = \max_{\epsilon^\top F\epsilon\le\gamma^2} l_S(\theta+\epsilon)",
        outcome=Outcome.CORRECTED,
        check=check,
        correction="the second step takes l ≥ 0; for l in [l_min, l_max], M + (l_max − l_min)/√n; cross-entropy has no l_max",
        correction_tex=r"E\,l_S(\theta+\epsilon) \le M + \frac{l_{\max} - l_{\min}}{\sqrt n}",
        smallest=Instance(1, 1, -1.0, 0.0),
    ),
}
