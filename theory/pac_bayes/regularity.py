"""F6.17, F6.20. Assumptions A.2 and A.3 on models small enough to compute: how small r has to be.

Claims: Kim et al., Fisher SAM, ICML 2022, assumptions A.2 and A.3: with r small enough, all θ in R(θ̄) = {‖θ−θ̄‖_F̄ ≤ r} have
|λᵢ(F(θ))/λᵢ(F̄) − 1| ≤ ε (eq. 17) and |(F̄F(θ)⁻¹ − I)ᵢⱼ| ≤ ε (eq. 20).
Verdict: both hold, on N(μ, σ²) and on logistic regression, with these r:
    N(μ, σ²):  r = √2 (1 − (1+ε)^−½) for both, wherever θ̄ is. From r = √2 on R reaches σ = 0, and no ε is large enough; the
    Gaussians of the proof reach it at any r: N(θ, ρ²F⁻¹) gives σ ≤ 0 a probability Φ(−√2/ρ), and no density there.
    logistic:  r = log(1+ε)/m for A.2 and log(1 + ε/√κ)/m for A.3, κ the condition of F̄, m = maxᵢ ‖xᵢ‖_F̄⁻¹. As
    (1/n) Σ sᵢ‖xᵢ‖²_F̄⁻¹ = k and sᵢ ≤ ¼, m ≥ 2√k: this r falls with the dimension, and log J ~ k log(1/r) grows faster than k.

Derivation. N(μ, σ²): F = diag(1, 2)/σ², so R is (Δμ² + 2Δσ²)/σ̄² ≤ r² and |σ/σ̄ − 1| ≤ r/√2 =: q, with equality at Δμ = 0.
Every eigenvalue changes by (σ̄/σ)², at most (1−q)⁻² − 1 = ε, and F̄F⁻¹ − I = ((σ/σ̄)² − 1) I ≤ 2q + q² ≤ ε.
Logistic: F = (1/n) Σ s(uᵢ) xᵢxᵢᵀ, u = ⟨x, θ⟩, s = p(1−p), and (log s)′ = 1 − 2p is at most 1 in size, so e^−|v| ≤ s(u+v)/s(u) ≤
e^|v|. On R |vᵢ| ≤ m r =: t, hence e^−t F̄ ⪯ F ⪯ e^t F̄: by Weyl A.2 with e^t − 1. And F̄F⁻¹ − I = F̄^½ E F̄^−½ with ‖E‖₂ ≤ e^t − 1
has entries below √κ(e^t − 1); its trace, all that eq. 29 uses, is at most k(e^t − 1), without κ.
Assumptions: σ̄ > 0; F̄ positive definite. Real data: scikit-learn's digits 3 and 8, two to four principal components.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import sympy as sp
from scipy.special import expit

from theory.claim import Claim
from theory.drawing import Axes
from theory.normal import average
from theory.pac_bayes.inputs import Matrix, Vector, definite, finite, positive, rows
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge


def derive() -> dict[str, sp.Eq]:
    """F of N(μ, σ²) from its scores; ε and r as inverses; A.3 from the same r; the logistic slope; the weighted mean k."""
    z, mu = sp.symbols("z mu", real=True)
    s, q, e = sp.symbols("sigma q epsilon", positive=True)
    x = mu + s * z
    u, v = sp.symbols("x v", real=True)
    log_density = -sp.log(v) - (u - mu) ** 2 / (2 * v**2)
    scores = sp.Matrix([log_density.diff(mu), log_density.diff(v)]).subs({u: x, v: s})
    fisher = sp.Matrix(2, 2, lambda i, j: average(scores[i] * scores[j], z))
    radius_q = 1 - (1 + e) ** sp.Rational(-1, 2)
    slack = ((1 - q) ** -2 - 1) * (1 - q) ** 2 - (2 * q + q**2) * (1 - q) ** 2
    p = 1 / (1 + sp.exp(-u))
    weights, inputs = sp.symbols("s:3", positive=True), sp.Matrix(3, 2, sp.symbols("x:6", real=True))
    own = sum((w * inputs[i, :].T * inputs[i, :] for i, w in enumerate(weights)), sp.zeros(2)) / 3
    leverage = sum(w * (inputs[i, :] * own.adjugate() * inputs[i, :].T)[0] for i, w in enumerate(weights)) / 3
    return {
        r"F(\mu,\sigma) = \mathrm{diag}(1/\sigma^2,\ 2/\sigma^2)": prove(fisher, sp.diag(1 / s**2, 2 / s**2)),
        r"(1-q)^{-2} - 1 = \epsilon, \quad q = r/\sqrt2 = 1 - (1+\epsilon)^{-1/2}": prove((1 - radius_q) ** -2 - 1, e),
        r"\bigl[(1-q)^{-2} - 1 - (2q+q^2)\bigr](1-q)^2 = q^2(2-q^2)": prove(slack, q**2 * (2 - q**2)),
        r"\tfrac{d}{du}\log p(1-p) = 1 - 2p": prove(sp.log(p * (1 - p)).diff(u), 1 - 2 * p),
        r"\tfrac1n\textstyle\sum_i s_i\, x_i^\top \bar F^{-1} x_i = k, \quad k=2": prove(
            sp.expand(leverage), sp.expand(2 * own.det())
        ),
    }


@dataclass(frozen=True)
class Instance:
    """center: θ̄, which is (μ, σ) where ``features`` is empty, else logistic weights for its rows; epsilon: ε_min."""

    center: Vector
    epsilon: float
    features: Matrix = ()

    def __post_init__(self) -> None:
        center = finite("center", self.center)
        positive("epsilon", self.epsilon)
        if not self.features and (len(center) != 2 or not center[1] > 0):
            raise ValueError("Without features center is (μ, σ) of a Gaussian; pass two numbers, the second positive.")
        if self.features and np.shape(self.features)[1:] != center.shape:
            raise ValueError("features and center are of different dimensions; pass as many weights as columns.")
        definite("the Fisher at center", rows(fisher(self, center)))


def fisher(instance: Instance, point: np.ndarray) -> np.ndarray:
    """F(θ) of the instance's model."""
    if not instance.features:
        return np.diag([1.0, 2.0]) / point[1] ** 2
    x = np.array(instance.features, dtype=float)
    p = expit(x @ point)
    return (x.T * (p * expit(-x @ point))) @ x / len(x)


@cache
def digits(components: int) -> np.ndarray:
    """Principal components of the images of 3 and 8, scaled to variance 1, and a constant column."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = x[(y == 3) | (y == 8)]
    left, _, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    scaled = left[:, :components] * math.sqrt(len(x))
    return np.concatenate([scaled, np.ones((len(x), 1))], axis=1)


def instance(seed: int) -> Instance:
    """In turn: N(μ, σ²), logistic regression on 60 images and an outlier, and on one-hot inputs. The answers to the outlier
    and to the one-hot inputs are all but certain: there |(log s)′| is almost 1, and the r of A.2 is reached."""
    rng = np.random.default_rng(seed)
    epsilon = float(10 ** rng.uniform(-2, -0.1))
    if seed % 3 == 0:
        return Instance((float(rng.normal(0, 10)), float(10 ** rng.uniform(-2, 2))), epsilon)
    certain = -float(rng.uniform(6, 8))
    if seed % 3 == 2:
        k, length = int(rng.integers(1, 5)), float(10 ** rng.uniform(-1, 1))
        return Instance((certain / length,) * k, epsilon, rows(np.eye(k) * length))
    x = digits(int(rng.integers(2, 5)))
    x = np.pad(x[rng.choice(len(x), 60, replace=False)], ((0, 1), (0, 1)))
    x[-1, -1] = 1
    return Instance((*rng.normal(0, 0.5, x.shape[1] - 1).tolist(), certain), epsilon, rows(x))


def allowed_radius(instance: Instance, entries: bool) -> float:
    """r at which A.2 (entries=False) or A.3 (True) is met."""
    if not instance.features:
        return math.sqrt(2) * (1 - (1 + instance.epsilon) ** -0.5)
    center = fisher(instance, np.array(instance.center, dtype=float))
    x = np.array(instance.features, dtype=float)
    m = math.sqrt(float(np.einsum("ni,in->n", x, np.linalg.solve(center, x.T)).max()))
    return math.log1p(instance.epsilon / (math.sqrt(np.linalg.cond(center)) if entries else 1)) / m


def boundary(instance: Instance, r: float) -> np.ndarray:
    """Points of R: both ends of every axis of F̄ and of the parameters, and 16 more directions, at r and at r/2."""
    center = np.array(instance.center, dtype=float)
    F = fisher(instance, center)
    k = len(center)
    others = np.random.default_rng(k).normal(size=(16, k))
    raw = np.concatenate([np.eye(k), -np.eye(k), np.linalg.eigh(F)[1].T, -np.linalg.eigh(F)[1].T, others])
    unit = raw / np.sqrt(np.einsum("ai,ij,aj->a", raw, F, raw))[:, None]
    return np.concatenate([center + r * unit, center + r / 2 * unit])


def changes(instance: Instance, r: float) -> tuple[float, float, float]:
    """Over R: the largest |λᵢ(F)/λᵢ(F̄) − 1|, |F̄F⁻¹ − I|ᵢⱼ, and Tr F̄F⁻¹/k − 1; inf where F is undefined or singular."""
    center = np.array(instance.center, dtype=float)
    F = fisher(instance, center)
    points = boundary(instance, r)
    if not instance.features and points[:, 1].min() <= 0:
        return math.inf, math.inf, math.inf
    others = np.array([fisher(instance, point) for point in points])
    ratios = np.linalg.eigvalsh(others) / np.linalg.eigvalsh(F)
    eigenvalues = float(abs(ratios - 1).max())
    if ratios.min() < 1e-10:
        return eigenvalues, math.inf, math.inf
    products = F @ np.linalg.inv(others)
    trace = float(np.trace(products, axis1=1, axis2=2).max()) / len(F) - 1
    return eigenvalues, float(abs(products - np.eye(len(F))).max()), trace


def lipschitz(instance: Instance, r: float) -> tuple[float, float]:
    """C₁ of eq. 18 and C₂ of eq. 21, the largest found on R: the change of λᵢ and of F⁻¹ over ‖θ−θ̄‖_F̄."""
    center = np.array(instance.center, dtype=float)
    F = fisher(instance, center)
    found = [0.0, 0.0]
    for point in boundary(instance, r):
        length, other = math.sqrt((point - center) @ F @ (point - center)), fisher(instance, point)
        found[0] = max(found[0], float(abs(np.linalg.eigvalsh(other) - np.linalg.eigvalsh(F)).max()) / length)
        found[1] = max(found[1], float(abs(np.linalg.inv(other) - np.linalg.inv(F)).max()) / length)
    return found[0], found[1]


def _trial(instance: Instance, found: float, r: float, name: str) -> Trial:
    model = "logistic" if instance.features else "N(μ, σ²)"
    rounding = 1e-9 * (1 + 1 / instance.epsilon)
    return Trial(
        found / instance.epsilon, 1 + rounding, f"{model}, r = {r:.4g}: {name} {found:.4g}, ε = {instance.epsilon:.4g}"
    )


def check(instance: Instance, altered: bool = False) -> Verdict:
    """F6.17 on the boundary of R and half way; errors are over ε. Altered: an r that is 3 % larger."""
    r = allowed_radius(instance, entries=False) * (1.03 if altered else 1)
    eigenvalues, _, trace = changes(instance, r)
    named = (("an eigenvalue changes by", eigenvalues), ("Tr F̄F⁻¹/k changes by", trace))
    return judge([_trial(instance, found, r, name) for name, found in named])


def check_entries(instance: Instance, altered: bool = False) -> Verdict:
    """F6.20 likewise. Altered: half as much again as the r of F6.17, as if κ were 1."""
    r = 1.5 * allowed_radius(instance, entries=False) if altered else allowed_radius(instance, entries=True)
    return judge([_trial(instance, changes(instance, r)[1], r, "an entry of F̄F⁻¹ changes by")])


def draw(axes: Axes) -> None:
    """ε over r: exact for N(μ, σ²), and for logistic regression on digits as proved and as found."""
    radii = np.linspace(0.01, 1.35, 60)
    axes.plot(radii, (1 - radii / math.sqrt(2)) ** -2 - 1, "C0", label="N(μ, σ²), exact")
    axes.axvline(math.sqrt(2), color="C0", ls=":", label="r = √2: R reaches σ = 0")
    case = Instance((0.5, -0.5, 0.0), 1.0, rows(digits(2)))
    m = math.log(2) / allowed_radius(case, entries=False)
    axes.plot(radii, np.expm1(m * radii), "C1--", label="logistic regression, proved")
    axes.plot(radii, [changes(case, float(r))[0] for r in radii], "C1", label="logistic regression, found")
    axes.set(xlabel="r", ylabel="ε_min that A.2 needs", ylim=(0, 4), xlim=(0, 2.6))
    axes.legend(loc="upper right")


CLAIMS = {
    "F6.17": Claim(
        source="Kim et al. 2022, assumption A.2 (eq. 17-19)",
        text="with r small enough, |λᵢ(F(θ))/λᵢ(F̄) − 1| ≤ ε on R; on N(μ, σ²) and logistic regression, with an explicit r",
        tex=r"\Bigl|\frac{\lambda_i(F(\theta))}{\lambda_i(F(\bar\theta))} - 1\Bigr| \le \epsilon_{\min}"
        r" \quad\text{for } \|\theta-\bar\theta\|_{F(\bar\theta)} \le r",
        outcome=Outcome.HOLDS,
        check=check,
    ),
    "F6.20": Claim(
        source="Kim et al. 2022, assumption A.3 (eq. 20)",
        text="with r small enough, |(F̄F(θ)⁻¹ − I)ᵢⱼ| ≤ ε on R; on N(μ, σ²) and logistic regression, with an explicit r",
        tex=r"\bigl|(F(\bar\theta)F(\theta)^{-1} - I)_{ij}\bigr| \le \epsilon_{\min}"
        r" \quad\text{for } \|\theta-\bar\theta\|_{F(\bar\theta)} \le r",
        outcome=Outcome.HOLDS,
        check=check_entries,
    ),
}
