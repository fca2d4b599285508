"""F7, F7a. The Fisher information of a Gaussian, diag(1/σ², 2/σ²), and two Gaussians far apart in θ that look alike.

Claim F7: Kim et al., Fisher SAM, ICML 2022, section 3.1: for N(μ, σ²) in θ = (μ, σ), F = diag(1/σ², 2/σ²), so that the
ball of Fisher SAM is the ellipse ε₁²/σ² + ε₂²/(σ²/2) ≤ γ².
Verdict: holds.

Claim F7a: section 3: in the family N(μ, 1 + 0.001σ) the parameters (1, 10) and (1, 20) are far apart in ℝ², and the
distributions nearly the same. Read as: ‖θ′ − θ‖ is at least half of ‖θ‖, and the total variation at most 0.01.
Verdict: holds. Their total variation is 0.0024, or 0.0048 if 1 + 0.001σ is read as the standard deviation: no test of one
observation tells them apart with a larger advantage. Moved as far along μ, the distributions hardly overlap. So the
Euclidean distance orders pairs wrongly. The example is one of coordinates: it says nothing on which distance is right.

Derivation. With z = (y − μ)/σ, log p = −log σ − z²/2 + const, and the score is (z, z² − 1)/σ. E[z²] = 1, E[z³] = 0 and
E[(z² − 1)²] = 2. In another chart φ(θ), F_φ = JᵀFJ with J = ∂θ/∂φ: (μ, log σ) has diag(1/σ², 2). The natural parameters
η = (μ/σ², −1/(2σ²)) have F = Cov(y, y²), and the mean parameters (E y, E y²) its inverse. F is a tensor: along a given
curve the length is the same in all four. Hence total variation, to first order: moving σ by δ turns it by E|z² − 1| δ/2σ.
Assumptions: σ > 0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import sympy as sp

from theory.claim import Claim
from theory.drawing import Axes
from theory.normal import average
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge, undecided

FAR = 0.5  # the least ‖θ′ − θ‖/‖θ‖ that counts as far apart
ALIKE = 0.01  # a total variation up to which two distributions count as nearly the same; 1 − ALIKE: as told apart


def derive() -> dict[str, sp.Eq]:
    """F by integrating products of the score in four charts."""
    mu, x = sp.symbols("mu x", real=True)
    sigma, eta2 = sp.Symbol("sigma", positive=True), sp.Symbol("eta_2", negative=True)
    y, z, eta1, m1, m2, log_std = sp.symbols("y z eta_1 m_1 m_2 s", real=True)

    def fisher(chart: dict[sp.Symbol, sp.Expr], log_prob: sp.Expr) -> sp.Matrix:
        """E[s sᵀ] at y = μ + σz, where the chart's coordinates are what they are at (μ, σ)."""
        score = sp.Matrix([log_prob.diff(coordinate) for coordinate in chart]).subs(chart).subs(y, mu + sigma * z)
        return (score * score.T).applyfunc(lambda product: average(sp.simplify(product), z))

    deviation = (y - x) ** 2 / 2
    plain = -sp.log(sigma) - deviation.subs(x, mu) / sigma**2
    logarithmic = -log_std - deviation.subs(x, mu) * sp.exp(-2 * log_std)
    natural = eta1 * y + eta2 * y**2 + eta1**2 / (4 * eta2) + sp.log(-2 * eta2) / 2
    mean = -sp.log(m2 - m1**2) / 2 - deviation.subs(x, m1) / (m2 - m1**2)
    covariance = sp.Matrix([[sigma**2, 2 * mu * sigma**2], [2 * mu * sigma**2, 2 * sigma**4 + 4 * mu**2 * sigma**2]])
    return {
        r"F_{(\mu,\sigma)} = \mathrm{diag}(1/\sigma^2,\ 2/\sigma^2)": prove(
            fisher({mu: mu, sigma: sigma}, plain), sp.diag(1 / sigma**2, 2 / sigma**2)
        ),
        r"F_{(\mu,\log\sigma)} = \mathrm{diag}(1/\sigma^2,\ 2)": prove(
            fisher({mu: mu, log_std: sp.log(sigma)}, logarithmic), sp.diag(1 / sigma**2, 2)
        ),
        r"F_\eta = \mathrm{Cov}(y, y^2),\ \eta = (\mu/\sigma^2,\, -1/2\sigma^2)": prove(
            fisher({eta1: mu / sigma**2, eta2: -1 / (2 * sigma**2)}, natural), covariance
        ),
        r"F_m = \mathrm{Cov}(y, y^2)^{-1},\ m = (E\,y,\, E\,y^2)": prove(
            fisher({m1: mu, m2: mu**2 + sigma**2}, mean) * covariance, sp.eye(2)
        ),
    }


@dataclass(frozen=True)
class Instance:
    """θ = (mean, std) and how far F7a moves it along std, or along mean for comparison."""

    mean: float
    std: float
    shift: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and 0 < self.std < math.inf):
            raise ValueError(f"N({self.mean}, {self.std}²) is not a Gaussian; pass a finite mean and a finite std > 0.")
        if not 0 < self.shift < math.inf:
            raise ValueError(f"shift = {self.shift} moves to no other point; pass a finite shift > 0.")


def instance(seed: int) -> Instance:
    """Seed 0: the printed example. Otherwise mean, std and a shift of comparable length at random."""
    rng = np.random.default_rng(seed)
    mean, std, share = rng.uniform(-8, 8), rng.uniform(1, 30), rng.uniform(0.6, 1.4)
    return Instance(1.0, 10.0, 10.0) if seed == 0 else Instance(mean, std, min(max(share * math.hypot(mean, std), 6.0), 20.0))


class Chart(NamedTuple):
    """coordinates: at (μ, σ); moments: mean and variance at the coordinates; information: F in them, at (μ, σ)."""

    name: str
    coordinates: Callable[[float, float], tuple[float, float]]
    moments: Callable[[complex, complex], tuple[complex, complex]]
    information: Callable[[float, float], tuple[tuple[float, float], tuple[float, float]]]


CHARTS = (
    Chart("(μ, σ)", lambda m, s: (m, s), lambda a, b: (a, b * b), lambda m, s: ((1 / s**2, 0), (0, 2 / s**2))),
    Chart("(μ, log σ)", lambda m, s: (m, math.log(s)), lambda a, b: (a, np.exp(2 * b)), lambda m, s: ((1 / s**2, 0), (0, 2))),
    Chart(
        "natural parameters",
        lambda m, s: (m / s**2, -1 / (2 * s**2)),
        lambda a, b: (-a / (2 * b), -1 / (2 * b)),
        lambda m, s: ((s**2, 2 * m * s**2), (2 * m * s**2, 2 * s**4 + 4 * m**2 * s**2)),
    ),
    Chart(
        "mean parameters",
        lambda m, s: (m, m**2 + s**2),
        lambda a, b: (a, b - a * a),
        lambda m, s: ((1 / s**2 + 2 * m**2 / s**4, -m / s**4), (-m / s**4, 1 / (2 * s**4))),
    ),
)


def fisher(instance: Instance, chart: Chart, steps: np.ndarray) -> np.ndarray:
    """E[s sᵀ] with scores by complex steps and E by Gauss-Hermite on three nodes, exact to degree five. (2, 2)."""
    point = np.array(chart.coordinates(instance.mean, instance.std), dtype=complex)
    outcomes = instance.mean + instance.std * math.sqrt(3) * np.array([-1, 0, 1])
    scores = []
    for step in 1j * np.diag(steps):
        mean, variance = chart.moments(*(point + step))
        log_prob = -np.log(variance) / 2 - (outcomes - mean) ** 2 / (2 * variance)
        scores.append(log_prob.imag / step.imag.max())
    return (np.array(scores) * [1 / 6, 2 / 3, 1 / 6]) @ np.array(scores).T


def check(instance: Instance, altered: bool = False) -> Verdict:
    """F7 in four charts. Altered: 1/σ² in place of 2/σ², which makes the ellipse a circle.

    Errors are of F_ij over √(F_ii F_jj). The allowance is for rounding: m₂ − m₁² loses a factor 1 + μ²/σ².
    """
    tolerance = 256 * float(np.finfo(float).eps) * (1 + (instance.mean / instance.std) ** 2)
    if not (tolerance < 1e-3 and 1e-30 < instance.std < 1e30):
        return undecided("a mean of at most 1e5 standard deviations, and σ between 1e-30 and 1e30: else rounding decides")
    trials = []
    for chart in CHARTS:
        expected = np.array(chart.information(instance.mean, instance.std), dtype=float)
        scale = 1 / np.sqrt(np.diag(expected))  # also sets the steps, where it need not be right
        computed = fisher(instance, chart, 1e-10 * scale)
        if altered and chart is CHARTS[0]:
            expected = expected[0, 0] * np.eye(2)
        error = float(abs((computed - expected) * np.outer(scale, scale)).max())
        trials.append(
            Trial(error, tolerance, f"{chart.name} at μ = {instance.mean:.4g}, σ = {instance.std:.4g}: off by {error:.3g}")
        )
    return judge(trials)


def total_variation(old: tuple[float, float], new: tuple[float, float]) -> float:
    """½∫|p − q| of two Gaussians given as (mean, std): ∫ of p − q between the densities' crossings, by erf."""
    (m, s), (n, r) = old, new
    # log p − log q = a y² + b y + c, about m
    a, b = (1 / r**2 - 1 / s**2) / 2, (m - n) / r**2
    c = (m - n) ** 2 / (2 * r**2) + math.log(r / s)
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    # The stable form of the quadratic's roots; with a = 0 one is at infinity.
    half = -(b + math.copysign(root, b)) / 2
    crossings = sorted((half / a if a else math.inf, c / half if half else 0.0 if a else math.inf))

    def mass(mean: float, std: float) -> float:
        low, high = ((math.erf((crossing - mean) / (std * math.sqrt(2)))) for crossing in crossings)
        return (high - low) / 2

    return abs(mass(0.0, s) - mass(n - m, r))


def check_example(instance: Instance, altered: bool = False) -> Verdict:
    """F7a: ‖θ′ − θ‖ ≥ ½‖θ‖; along σ the total variation stays ≤ 0.01, as far along μ it is ≥ 0.99. Altered: N(μ, 1 + σ).

    1 + 0.001σ is read as the variance and as the standard deviation. Needs a shift like the example's. Its length is judged
    for the example, and for others is what makes them alike.
    """
    old, new = (instance.mean, instance.std), (instance.mean, instance.std + instance.shift)
    apart = math.dist(old, new) / math.hypot(*old)
    example = instance == Instance(1.0, 10.0, 10.0)
    if not example and not (6 <= instance.shift <= 20 and apart >= FAR):
        return undecided("a shift like the example's, of 6 to 20 and at least ½‖θ‖: what is nearly the same depends on it")
    trials = [Trial(max(0.0, FAR - apart), 0.0, f"‖θ′ − θ‖ is {apart:.3g} ‖θ‖, which is not far apart")]
    for power, reading in ((0.5, "variance"), (1.0, "standard deviation")):
        scale, moved = ((1 + (1 if altered else 1e-3) * std) ** power for std in (instance.std, instance.std + instance.shift))
        # From mean 0, as only the difference counts: added to a large mean it would be rounded away.
        along_std = total_variation((0.0, scale), (0.0, moved))
        along_mean = total_variation((0.0, scale), (instance.shift, scale))
        where = f"{reading} from σ = {instance.std:.4g}: {instance.shift:.4g} further along"
        trials.append(Trial(along_std, ALIKE, f"{where} σ the total variation is {along_std:.4g}"))
        trials.append(Trial(1 - along_mean, ALIKE, f"{where} μ the total variation is {along_mean:.4g}"))
    return judge(trials)


def draw(axes: Axes) -> None:
    """Balls of equal radius in the half-plane (μ, σ): Fisher's grow with σ, Euclid's do not."""
    angle = np.linspace(0, 2 * np.pi, 200)
    for std, colour in ((1, "C0"), (4, "C1"), (9, "C2")):
        fisher_ball = (0.5 * std * np.cos(angle), std + 0.5 * std / math.sqrt(2) * np.sin(angle))
        axes.plot(*fisher_ball, colour, label=f"Fisher, ε₁²/σ² + 2ε₂²/σ² = γ², at σ = {std}")
        circle = axes.plot(0.5 * np.cos(angle), std + 0.5 * np.sin(angle), "k:")[0]
        axes.plot(0, std, colour, marker=".")
    circle.set_label("Euclidean, ‖ε‖ = γ")
    axes.set(xlabel="μ", ylabel="σ", xlim=(-9, 9), ylim=(0, 18), aspect="equal")
    axes.legend(loc="upper center", fontsize="small", title="balls of radius γ = ½")


CLAIMS = {
    "F7": Claim(
        source="Kim et al. 2022, section 3.1",
        text="the Fisher information of N(μ, σ²) in (μ, σ) is diag(1/σ², 2/σ²)",
        tex=r"F(\mu, \sigma) = \mathrm{diag}(1/\sigma^2,\ 2/\sigma^2) \text{ for } N(\mu, \sigma^2)",
        outcome=Outcome.HOLDS,
        check=check,
    ),
    "F7a": Claim(
        source="Kim et al. 2022, section 3, the example before eq. 6",
        text="N(μ, 1 + 0.001σ) at (1, 10) and (1, 20): far apart in θ, nearly the same distribution",
        tex=r"\theta = (1, 10),\ \theta' = (1, 20):\ \|\theta' - \theta\| = 10,"
        r"\quad N(1,\, 1.01) \approx N(1,\, 1.02)",
        outcome=Outcome.HOLDS,
        check=check_example,
        cases=1,
    ),
}
