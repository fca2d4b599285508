"""F6.25. The PAC-Bayes bound that the proof starts from: E_Q l_D ≤ E_Q l_S + √((KL(Q‖P) + log(n/δ)) / 2(n−1)) for all Q.

Claim: Kim et al., Fisher SAM, ICML 2022, eq. 25, after McAllester 1999 and Dziugaite and Roy 2017, with probability ≥ 1 − δ
over n samples, for a prior P that does not depend on them; used there for the cross-entropy loss.
Verdict: holds with a correction: the root belongs to losses in [0, 1]. For losses in an interval of length w it is w times as
large. Cross-entropy has no such w: a model that gives an outcome probability e^−M loses M on it, whatever M is, and the
printed inequality then fails more often than δ.

Derivation. Δ = l_D − l_S of one hypothesis. Hoeffding: P(Δ > wx) ≤ e^−2nx². So X = exp(2(n−1)Δ₊²/w²) has P(X > y) ≤
y^−n/(n−1) and E X ≤ 1 + ∫₁^∞ y^−n/(n−1) dy = n. By Markov, with probability ≥ 1 − δ over S, E_P X ≤ n/δ. Change of measure
and Jensen, a = 2(n−1)/w²:  a(E_QΔ)₊² ≤ a E_QΔ₊² ≤ KL(Q‖P) + log E_P X ≤ KL(Q‖P) + log(n/δ).
J priors share δ among them: log(nJ/δ), eq. 27. The check takes the worst Q of all: as y² = max_t (2ty − t²), some Q violates
the bound exactly if max_t (log E_P e^{2atΔ} − at²) > log(n/δ).
Assumptions: independent samples; n ≥ 2; P fixed before the samples are seen (``priors`` shows what happens otherwise).
"""

import math
from dataclasses import dataclass

import numpy as np
import sympy as sp
from scipy.special import logsumexp
from scipy.stats import binom

from theory.claim import Claim
from theory.drawing import Axes
from theory.pac_bayes.inputs import Vector, chance, count, finite
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge, undecided

TILTS = 129


def derive() -> dict[str, sp.Eq]:
    """The bound n of the moment, by integration; change of measure for two hypotheses; the square as a maximum; the root."""
    m = sp.Symbol("m", positive=True)  # n − 1
    y, t, x, a = sp.symbols("y t x a", positive=True)
    moment = 1 + sp.integrate(y ** (-1 - 1 / m), (y, 1, sp.oo))
    p, q, f, g = sp.symbols("p q f g", positive=True)  # odds of the second hypothesis, and what is averaged
    P, Q = ((1 / (1 + odds), odds / (1 + odds)) for odds in (p, q))
    total = P[0] * sp.exp(f) + P[1] * sp.exp(g)
    gibbs = P[0] * sp.exp(f) / total, P[1] * sp.exp(g) / total
    kl, other = (sum(u * sp.log(u / v) for u, v in zip(Q, R, strict=True)) for R in (P, gibbs))
    gap = sp.log(total) + kl - Q[0] * f - Q[1] * g
    tilted = sp.simplify(sp.expand_log(gap - other, force=True))
    best = sp.solve((2 * a * t * x - a * t**2).diff(t), t)[0]
    c, n = sp.symbols("c n", positive=True)
    root = sp.solve(a * x**2 - c, x)[0].subs(a, 2 * (n - 1) / t**2)
    return {
        r"1 + \int_1^\infty y^{-n/(n-1)}\,dy = n": prove(moment, 1 + m),
        r"\log E_P e^f + \mathrm{KL}(Q\|P) - E_Q f = \mathrm{KL}(Q\|Q_f), \quad Q_f \propto P e^f": prove(tilted, sp.S(0)),
        r"\max_t\,(2atx - at^2) = a x^2": prove((2 * a * t * x - a * t**2).subs(t, best), a * x**2),
        r"\tfrac{2(n-1)}{w^2}x^2 = c \;\Rightarrow\; x = w\sqrt{c/2(n-1)}": prove(root**2, t**2 * c / (2 * (n - 1))),
    }


@dataclass(frozen=True)
class Instance:
    """Coin flips, n of them, heads with probability ``rate``. Hypothesis h gives heads the probability e^−surprise_h and
    has the cross-entropy loss; ``weights``: the prior's, up to their sum."""

    samples: int
    rate: float
    surprise: Vector
    weights: Vector
    delta: float

    def __post_init__(self) -> None:
        count("samples", self.samples, 2)
        chance("rate", self.rate)
        chance("delta", self.delta)
        surprise, weights = finite("surprise", self.surprise), finite("weights", self.weights)
        if len(surprise) == 0 or surprise.shape != weights.shape or surprise.min() <= 0 or weights.min() <= 0:
            raise ValueError("Every hypothesis needs one positive surprise and one positive weight; pass as many of each.")

    @property
    def losses(self) -> np.ndarray:
        """(H, 2): of tails, and of heads."""
        surprise = np.array(self.surprise, dtype=float)
        return np.stack([-np.log(-np.expm1(-surprise)), surprise], axis=1)

    @property
    def width(self) -> float:
        """w: the largest loss minus the smallest."""
        return float(np.ptp(self.losses))


def instance(seed: int) -> Instance:
    """20 to 40 flips, δ just below the chance that none shows heads, where Hoeffding's bound is nearly reached; up to four
    hypotheses, of which one gives heads a very small probability."""
    rng = np.random.default_rng(seed)
    n, hypotheses = int(rng.integers(20, 41)), int(rng.integers(1, 5))
    rate = float(rng.uniform(0.65, 0.8))
    delta = (1 - rate) ** n * float(rng.uniform(0.3, 0.9))
    # Samples without heads miss rate × surprise; past the second factor the printed root is smaller than that.
    surprise = rng.uniform(0.1, 5, hypotheses)
    surprise[0] = rng.uniform(2, 20) * (1 + math.sqrt(math.log(n / delta) / (2 * (n - 1)))) / rate
    surprise[0] += float(np.log(hypotheses)) / rate
    return Instance(n, rate, tuple(surprise.tolist()), tuple(rng.uniform(0.2, 1, hypotheses).tolist()), delta)


def exponent(gaps: np.ndarray, prior: np.ndarray, samples: int, width: float) -> tuple[np.ndarray, np.ndarray]:
    """max over t of log E_P e^{2atΔ} − at², for each row of gaps (S, H): a value that is reached, and one that is not passed.

    Between grid points the derivative 2a(E Δ − t) is at most 2a max|Δ| in size, for t from 0 to max Δ.
    """
    a = 2 * (samples - 1) / width**2
    top = np.maximum(gaps.max(1), 0)
    tilts = np.linspace(0, 1, TILTS)[None, :] * top[:, None]
    inner = 2 * a * tilts[:, :, None] * gaps[:, None, :] + np.log(prior)
    reached = (logsumexp(inner, axis=2) - a * tilts**2).max(1)
    return reached, reached + a * top * (abs(gaps).max(1) + top) / (TILTS - 1)


def every_sample(instance: Instance) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chances (n+1,) and gaps Δ (n+1, H) of all samples, which differ by their heads; the prior (H,)."""
    heads = np.arange(instance.samples + 1)
    tails, head = instance.losses.T
    gaps = (instance.rate - heads[:, None] / instance.samples) * (head - tails)[None, :]
    return binom.pmf(heads, instance.samples, instance.rate), gaps, np.array(instance.weights) / sum(instance.weights)


def violations(instance: Instance, width: float) -> tuple[float, float]:
    """P(some Q violates the bound with this w), from below and from above."""
    chances, gaps, prior = every_sample(instance)
    allowed = math.log(instance.samples / instance.delta)
    low, high = (float(chances[value > allowed].sum()) for value in exponent(gaps, prior, instance.samples, width))
    return low, high


def log_moment(instance: Instance, width: float) -> float:
    """log E_S E_P exp(2(n−1)Δ₊²/w²), which the proof bounds by log n."""
    chances, gaps, prior = every_sample(instance)
    inner = 2 * (instance.samples - 1) * (np.maximum(gaps, 0) / width) ** 2
    return float(logsumexp(inner, b=chances[:, None] * prior))


def check(instance: Instance, altered: bool = False) -> Verdict:
    """P(some Q violates the bound) over δ, and E X over n, against the printed w = 1. Altered: ⅔ of our w."""
    if not instance.width > 0:
        return undecided("a hypothesis that prefers one side of the coin: this one loses as much on both")
    if not 1e-150 < instance.width < 1e150:
        return undecided("a loss whose square float64 can hold")
    width = instance.width * (2 / 3 if altered else 1)
    low, high = violations(instance, width)
    printed, _ = violations(instance, 1.0)
    slack = 1 + 1e-12 * instance.samples
    where = f"n = {instance.samples}, losses up to {instance.losses.max():.4g}"
    moment = math.exp(min(log_moment(instance, width) - math.log(instance.samples), 700))

    def trial(probability: float, width: float) -> Trial:
        case = f"{where}: root times {width:.4g} violated with probability {probability:.4g}, δ = {instance.delta:.4g}"
        return Trial(probability / instance.delta, slack, case)

    ours = trial(low if altered else high, width)
    return judge([ours, Trial(moment, slack, f"{where}: E X = {moment:.4g} n")], printed=[trial(printed, 1.0)])


def draw(axes: Axes) -> None:
    """How often the bound is violated, over the surprise of the rare side: as printed, and with the loss's own width."""
    surprises = np.geomspace(1, 100, 40)
    cases = [Instance(4, 0.2, (float(s),), (1.0,), 0.05) for s in surprises]
    axes.semilogx(surprises, [violations(case, 1.0)[0] for case in cases], "C3", label="printed (eq. 25)")
    axes.semilogx(surprises, [violations(case, case.width)[1] for case in cases], "C0", label="root × (l_max − l_min)")
    axes.axhline(0.05, color="k", ls=":", label="allowed: δ")
    axes.set(xlabel="cross-entropy of the rare side, nats", ylabel="P(bound violated), n = 4", ylim=(-0.02, 0.75))
    axes.legend(loc="upper left")


CLAIMS = {
    "F6.25": Claim(
        source="Kim et al. 2022, eq. 25, after McAllester 1999",
        text="for all Q, E_Q l_D ≤ E_Q l_S + √((KL(Q‖P) + log(n/δ))/2(n−1)) with probability ≥ 1 − δ, l the cross-entropy",
        tex=r"E_Q[l_D] \le E_Q[l_S] + \sqrt{\frac{\mathrm{KL}(Q\|P) + \log\frac n\delta}{2(n-1)}} \quad\forall Q",
        outcome=Outcome.CORRECTED,
        check=check,
        correction="for losses in an interval of length w the root is w times as large; cross-entropy has no such w",
        correction_tex=r"E_Q[l_D] \le E_Q[l_S] + w\sqrt{\frac{\mathrm{KL}(Q\|P) + \log\frac n\delta}{2(n-1)}},"
        r"\quad l \in [a, a+w]",
        smallest=Instance(2, 0.5, (3.0,), (1.0,), 0.125),
    ),
}
