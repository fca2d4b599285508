"""F6.PRIOR. A prior may not depend on the training set: with algorithm 1's F̂ the bound is violated almost surely.

Claim: Kim et al., Fisher SAM, ICML 2022, section 3: theorem 3.2 is the bound of Fisher SAM, algorithm 1, whose F̂ is computed
from the batch that is trained on. In the theorem the priors N(θ̄ⱼ, ρ²F(θ̄ⱼ)⁻¹) have the F of eq. 7, an expectation over x.
Verdict: fails. The proof is one for the F of the population, or of held-out data, and nothing is proved of algorithm 1.

The counterexample needs no training and no move of the centre. A regression with one parameter for each of m equally likely
inputs, y ∼ N(θ_x, 1), whose targets are all 1, θ₀ = θ̄ = 0; loss 1 where |y − θ_x| > 2, else 0. F is diag(P(x)) = I/m: every
parameter gets the same variance. The F̂ of eq. 12 on the whole batch is the squared gradient diag((n_x/n)²), to which
algorithm 1 adds its regulariser λ: seen inputs get the variance ρ²/((n_x/n)² + λ), unseen ones ρ²/λ. So Q = P has
KL 0 and an l_S near 0 and an l_D near the unseen part: it memorises the sample. Θ = {0} is covered by J = 1 with r = 0, ε_min
= 0: every printed assumption is met by this F̂. At λ = ρ⁴ and ρ = 1/(2n(√m + √log n)) the ellipsoid, too, stays below the
threshold: a seen parameter moves by at most γn = ½, so l_FSAM = 0, and the right side of eq. 33 is 1/√n + √(log(n/δ)/2(n−1)).

Derivation. Only the counts (n_x) matter, and up to order they are partitions of n; a partition c with d parts has chance
n!/Πcᵢ! · m!/((m−d)! Π multiplicities!) / mⁿ. Enumerated, all training sets.
Assumptions: n ≥ 2.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
import sympy as sp
from scipy.special import ndtr

from theory.claim import Claim
from theory.drawing import Axes
from theory.normal import average
from theory.pac_bayes.inputs import chance, count
from theory.pac_bayes.tail import radius
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge


def derive() -> dict[str, sp.Eq]:
    """F of the regression by integration; eq. 12 on a batch; the ellipsoid's reach on a seen input; the unseen part."""
    y, theta = sp.symbols("y theta", real=True)
    score = (-((y - theta) ** 2) / 2).diff(theta)
    fisher = average((score**2).subs(y, y + theta), y)
    n, m, L = sp.symbols("n m l", positive=True)
    step, rho = sp.Symbol("s", positive=True), 1 / (2 * n * (sp.sqrt(m) + sp.sqrt(L)))
    gamma = rho * (sp.sqrt(m) + sp.sqrt(L))
    reach = sp.solve(step**2 / n**2 - gamma**2, step)[0]  # εᵀF̂ε = γ² along an input that was seen once
    parameters = sp.Matrix(sp.symbols("theta:3", real=True))
    batch = (0, 0, 2)  # the inputs of three samples
    loss = sum((1 - parameters[x]) ** 2 for x in batch) / 2 / len(batch)
    magnitude = sp.diag(*(loss.diff(p).subs({q: 0 for q in parameters}) ** 2 for p in parameters))
    exact = sum(Fraction(4 - len(parts), 4) * share for parts, share in partitions_with_chances(3, 4))
    return {
        r"E[(\partial_\theta \log p)^2] = 1, \quad y\sim N(\theta,1)": prove(fisher, sp.S(1)),
        r"\hat F(0) = \mathrm{diag}((n_x/n)^2), \quad n_x = 2, 0, 1": prove(
            magnitude, sp.diag(*(sp.Rational(batch.count(x), 3) ** 2 for x in range(3)))
        ),
        r"\epsilon_x^2/n^2 = \gamma^2 \Rightarrow \epsilon_x = \tfrac12, \quad \gamma = \rho(\sqrt m+\sqrt{\log n})": prove(
            reach, sp.Rational(1, 2)
        ),
        r"E[\text{unseen part}] = (1-\tfrac1m)^n, \quad n=3,\ m=4": prove(
            sp.Rational(exact.numerator, exact.denominator), ((1 - 1 / m) ** n).subs({n: 3, m: 4})
        ),
    }


def partitions(total: int, largest: int) -> Iterator[tuple[int, ...]]:
    """Of total, parts falling and not above largest."""
    if total == 0:
        yield ()
    for part in range(min(total, largest), 0, -1):
        yield from ((part, *rest) for rest in partitions(total - part, part))


@cache
def partitions_with_chances(samples: int, inputs: int) -> tuple[tuple[tuple[int, ...], Fraction], ...]:
    """Every way in which n draws from m equally likely inputs can repeat, with its probability."""
    found = []
    for parts in partitions(samples, samples):
        if len(parts) <= inputs:
            orders = math.factorial(samples) // math.prod(map(math.factorial, parts))
            places = math.perm(inputs, len(parts)) // math.prod(map(math.factorial, Counter(parts).values()))
            found.append((parts, Fraction(orders * places, inputs**samples)))
    return tuple(found)


@dataclass(frozen=True)
class Instance:
    """inputs: m; samples: n; delta: δ."""

    inputs: int
    samples: int
    delta: float

    def __post_init__(self) -> None:
        count("inputs", self.inputs)
        count("samples", self.samples, 2)
        chance("delta", self.delta)
        if self.samples > 30:
            raise ValueError(f"samples = {self.samples}: too many partitions to enumerate; pass at most 30.")

    @property
    def rho(self) -> float:
        """The posterior's scale, at which the ellipsoid moves no seen parameter by more than ½."""
        return 1 / (2 * self.samples * radius(self.inputs, self.samples))


def instance(seed: int) -> Instance:
    """10 to 14 training samples of some hundred inputs."""
    rng = np.random.default_rng(seed)
    return Instance(int(rng.integers(120, 1000)), int(rng.integers(10, 15)), float(rng.uniform(0.05, 0.3)))


def losing(variance: np.ndarray | float) -> np.ndarray:
    """P(|1 − θ_x| > 2) for θ_x ∼ N(0, variance)."""
    scale = np.sqrt(np.asarray(variance))
    return ndtr(-1 / scale) + ndtr(-3 / scale)


def gaps(instance: Instance, from_sample: bool) -> Iterator[tuple[float, float]]:
    """(chance, E_Q l_D − l_FSAM) for every way in which the sample can repeat, Q = P with algorithm 1's F̂ + λI or with F."""
    n, m, rho = instance.samples, instance.inputs, instance.rho
    budget = (rho * radius(m, n)) ** 2
    for parts, share in partitions_with_chances(n, m):
        seen = np.array(parts) / n
        fisher, other = (seen**2 + rho**4, rho**4) if from_sample else (np.full(len(parts), 1 / m), 1 / m)
        loss = float((losing(rho**2 / fisher).sum() + (m - len(parts)) * losing(rho**2 / other)) / m)
        # To lose on an input takes θ_x < −1 and so F_xx of the budget: at most this many, and the parts fall.
        pushed = math.ceil(budget / fisher.min()) - 1
        yield float(share), loss - float(seen[:pushed].sum())


def violated(instance: Instance, from_sample: bool) -> float:
    """P(E_Q l_D > l_FSAM + 1/√n + √(log(n/δ)/2(n−1))) over all training sets: eq. 33 with J = 1, r = 0, ε_min = 0."""
    n = instance.samples
    allowed = 1 / math.sqrt(n) + math.sqrt(math.log(n / instance.delta) / (2 * (n - 1)))
    return math.fsum(share for share, gap in gaps(instance, from_sample) if gap > allowed)


def check(instance: Instance, altered: bool = False) -> Verdict:
    """P(bound violated)/δ for algorithm 1's F̂. Altered: for the population's F."""
    value = violated(instance, from_sample=not altered)
    source = "F of the population" if altered else "F̂ of algorithm 1"
    case = f"m = {instance.inputs}, n = {instance.samples}, {source}: violated with probability {value:.4g}"
    return judge([Trial(value / instance.delta, 1 + 1e-12, f"{case}, δ = {instance.delta:.4g}")])


def draw(axes: Axes) -> None:
    """Over the number of inputs: the gap on average over all training sets, and what eq. 33 allows; δ = 0.1, n = 12."""
    inputs = np.unique(np.geomspace(12, 2000, 14).astype(int))
    cases = [Instance(int(m), 12, 0.1) for m in inputs]
    for from_sample, label, style in ((True, "F̂ of algorithm 1", "C3o-"), (False, "F of the population", "C0o-")):
        means = [sum(share * gap for share, gap in gaps(case, from_sample)) for case in cases]
        axes.semilogx(inputs, means, style, ms=3, label=label)
    allowed = 1 / math.sqrt(12) + math.sqrt(math.log(12 / 0.1) / 22)
    axes.axhline(allowed, color="k", ls=":", label="allowed by eq. 33")
    axes.set(xlabel="inputs m, one parameter each", ylabel="E l_D(θ+ε) − l_FSAM(θ; S)", ylim=(-1.3, 1.15))
    axes.legend(loc="lower left")


CLAIMS = {
    "F6.PRIOR": Claim(
        source="Kim et al. 2022, theorem 3.2 as the bound of algorithm 1",
        text="the bound is that of algorithm 1, whose F̂ is the squared gradient on the training set",
        tex=r"P_j = \mathcal N(\bar\theta_j, \rho^2 \hat F_S(\bar\theta_j)^{-1}),\ \hat F_S \text{ from the training set } S",
        outcome=Outcome.FAILS,
        check=check,
        correction="F must be the population's, or come from held-out data; with F̂ the bound may fail almost surely",
        correction_tex=r"P_j = \mathcal N(\bar\theta_j, \rho^2 F(\bar\theta_j)^{-1}),\ F = E_x E_y[\nabla\log p\,\nabla\log"
        r" p^\top] \text{ independent of } S",
        smallest=Instance(31, 11, 0.5),
    ),
}
