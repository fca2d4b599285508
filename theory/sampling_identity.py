"""F4, F5. Squared means of minibatches, and the mean of squares: (1/N) Σ v vᵀ = α E[v̄_B v̄_Bᵀ] + (1 − α) v̄ v̄ᵀ.

v₁ … v_N is the population, v̄ its mean, B a uniformly drawn minibatch of size M and v̄_B its mean.

Claim F4: Kim et al., Fisher SAM, ICML 2022, theorem 3.1, rephrasing theorem 1 of Khan et al., ICML 2018: with B drawn
with replacement, α = M(N−1)/(N−M).
Verdict: holds with a correction. That α belongs to drawing without replacement; with replacement α = M.

Claim F5: the remark after the theorem, and its footnote 2: where the batch mean is close to the population mean, the
mean of squares is therefore close to the squared mean.
Verdict: fails. The difference is the per-sample covariance, which no batch size changes; M → N makes the batch mean
exact, and sends α → ∞ instead of the covariance → 0.

Derivation, entry by entry. Let s be an entry of the per-sample covariance (1/N) Σ (v−v̄)(v−v̄)ᵀ and m the same of v̄ v̄ᵀ;
the left side is s + m. Members of B have covariance s each and c in pairs, so v̄_B has u = (s + (M−1)c)/M, and
E[v̄_B v̄_Bᵀ] = u + m. Hence α = s/u. With replacement c = 0. Without, the sum of all N does not vary, so
N s + N(N−1) c = 0 and c = −s/(N−1). If gradients are all noise, v̄ = 0, the squared batch mean is s/α: with replacement
it has 1/M of the mean square.
Assumptions: none on the population. Without replacement M < N: at M = N the batch mean does not vary, and u = 0.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import sympy as sp

from theory.claim import Claim
from theory.drawing import Axes
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge, undecided

NEAR = 2  # how many times E‖v̄_B − v̄‖² a gap may be that is small with it


def alpha(population: int, batch: int, replacement: bool) -> Fraction:
    """α for N and M: M with replacement, M(N−1)/(N−M) without. Raises: ValueError where there is none."""
    for name, size in (("population", population), ("batch", batch)):
        if size < 1:
            raise ValueError(f"{name} = {size} leaves nothing to average; pass a positive number.")
    if replacement:
        return Fraction(batch)
    cure = "pass batch < population, or replacement=True."
    if batch > population:
        raise ValueError(f"A batch of {batch} cannot be drawn without replacement from {population}; {cure}")
    if batch == population:
        raise ValueError(f"A batch of all {population} always has the population's mean, so α diverges; {cure}")
    return Fraction(batch * (population - 1), population - batch)


def derive() -> dict[str, sp.Eq]:
    """α of both schemes from variances; the difference as a covariance; 1/α → 0 at M = N; the noise-dominated total."""
    N, M = sp.symbols("N M", positive=True)
    s, m, c, a = sp.symbols("s m c alpha", real=True)
    spread = (s + (M - 1) * c) / M
    without = sp.solve(N * s + N * (N - 1) * c, c)[0]
    values = [sp.solve(a * (spread + m) + (1 - a) * m - (s + m), a)[0].subs(c, pair) for pair in (0, without)]

    v = sp.symbols("v:3", real=True)
    mean = sum(v) / 3
    difference = prove(sum(x**2 for x in v) / 3 - mean**2, sum((x - mean) ** 2 for x in v) / 3)
    diverging = prove((1 / values[1]).subs(M, N), sp.S(0))
    noise = prove((spread + m).subs({m: 0, c: 0}) / s, 1 / M)
    return {
        r"\alpha_{\text{with}} = M": prove(values[0], M),
        r"\alpha_{\text{without}} = \frac{M(N-1)}{N-M}": prove(values[1], M * (N - 1) / (N - M)),
        r"\tfrac1N \textstyle\sum v^2 - \bar v^2 = \tfrac1N \sum (v - \bar v)^2": difference,
        r"\lim_{M\to N} 1/\alpha_{\text{without}} = 0": diverging,
        r"E[\bar v_B^2] = \tfrac1M\, \tfrac1N \textstyle\sum v^2 \text{ with replacement, if } \bar v = 0": noise,
    }


def batches(population: int, batch: int, replacement: bool) -> Iterable[tuple[int, ...]]:
    """Every equally likely minibatch: ordered tuples with replacement, subsets without."""
    return product(range(population), repeat=batch) if replacement else combinations(range(population), batch)


def second_moment(vectors: np.ndarray, batch: int, replacement: bool, about: np.ndarray | int = 0) -> np.ndarray:
    """E[(v̄_B − about)(v̄_B − about)ᵀ] by enumeration. vectors: (N, d), of Fractions (exact) or floats."""
    means = [vectors[list(members)].sum(0) / batch - about for members in batches(len(vectors), batch, replacement)]
    start = np.zeros((vectors.shape[1], vectors.shape[1]), vectors.dtype)
    return sum((np.outer(mean, mean) for mean in means), start) / len(means)


@dataclass(frozen=True)
class Instance:
    """vectors: (N, d), integers, or floats taken as the exact fractions that they are; batch: M, with 1 ≤ M < N."""

    vectors: np.ndarray
    batch: int

    def __post_init__(self) -> None:
        alpha(len(self.vectors), self.batch, replacement=False)

    @property
    def exact(self) -> np.ndarray:
        return np.array([[Fraction(x) for x in row] for row in self.vectors.tolist()], dtype=object)


def instance(seed: int) -> Instance:
    """N of 3 to 5 Gaussian vectors in 1 to 3 dimensions, and M from 2 to N − 1: for M = 1 every scheme has α = 1."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 6))
    return Instance(rng.normal(rng.normal(), 1, (n, int(rng.integers(1, 4)))), int(rng.integers(2, n)))


def check(instance: Instance, altered: bool = False) -> Verdict:
    """F4 over every minibatch, exactly and in float64, against the printed α. Altered: the schemes exchange their α.

    Errors are the largest entry of left − right over the largest entry of left.
    """
    n, m = len(instance.vectors), instance.batch
    entries, limits = abs(instance.vectors[instance.vectors != 0].astype(float)), np.finfo(float)
    if not ((entries > math.sqrt(limits.tiny)) & (entries < math.sqrt(limits.max / n))).all():
        return undecided("vectors whose squares are finite normal numbers in float64")

    arithmetics = {True: instance.exact, False: instance.vectors.astype(float)}
    moments = {(exact, r): second_moment(arithmetics[exact], m, r) for exact in arithmetics for r in (True, False)}

    def trial(exact: bool, replacement: bool, value: Fraction) -> Trial:
        vectors, a = arithmetics[exact], value if exact else float(value)
        square, mean = vectors.T @ vectors / n, vectors.sum(0) / n
        residual = square - (a * moments[exact, replacement] + (1 - a) * np.outer(mean, mean))
        scale = abs(square).max()
        # α multiplies a difference of nearly equal moments, and so their rounding.
        tolerance = 0.0 if exact else 64 * n * float(np.finfo(float).eps) * (1 + a)
        error = float(abs(residual).max() / scale) if scale else 0.0
        scheme = "with" if replacement else "without"
        return Trial(error, tolerance, f"N = {n}, M = {m} {scheme} replacement, α = {value}: relative residual {error:.3g}")

    trials = [trial(exact, r, alpha(n, m, r != altered)) for exact, r in moments]
    return judge(trials, printed=[trial(True, True, alpha(n, m, replacement=False))])


def check_remark(instance: Instance, altered: bool = False) -> Verdict:
    """F5 at the instance's M and at N without replacement, exactly: the gap is at most twice E‖v̄_B − v̄‖².

    It is so for batches of one, whose deviation is the whole gap; at M = N, where the batch mean is always right, nothing
    is allowed. Errors: the trace of (1/N) Σ vvᵀ − v̄v̄ᵀ over that of (1/N) Σ vvᵀ, a fraction.
    Altered: each vector is close to v̄, not only the batch mean, which allows max ‖v − v̄‖²; that holds.
    """
    vectors, n = instance.exact, len(instance.vectors)
    mean = vectors.sum(0) / n
    square = np.trace(vectors.T @ vectors) / n
    difference = square - mean @ mean
    if difference == 0:
        return undecided("a population with spread: where all vectors agree, nothing can differ")
    trials = []
    for m in (instance.batch, n):
        deviation = np.trace(second_moment(vectors, m, replacement=False, about=mean))
        allowed = max(((v - mean) ** 2).sum() for v in vectors) if altered else NEAR * deviation
        parts = f"E‖v̄_B − v̄‖² = {float(deviation / square):.3g}, and tr((1/N)Σvvᵀ − v̄v̄ᵀ) = {float(difference / square):.6g}"
        trials.append(Trial(difference / square, allowed / square, f"N = {n}, M = {m}: {parts}, of tr (1/N)Σvvᵀ"))
    return judge(trials)


def draw(axes: Axes) -> None:
    """Over M/N: the batch mean's error vanishes, the gap that the remark wants small stays, α goes to infinity."""
    drawn = Instance(np.random.default_rng(0).normal(0.3, 1, (9, 1)), 2)
    sizes = range(1, len(drawn.vectors) + 1)
    mean = drawn.vectors.mean(0)
    share = [size / len(drawn.vectors) for size in sizes]
    deviation = [second_moment(drawn.vectors, size, False, about=mean)[0, 0] for size in sizes]
    axes.plot(share, [drawn.vectors.var()] * len(share), label="gap: mean of squares − squared mean")
    axes.plot(share, deviation, "o-", label="E(v̄_B − v̄)², without replacement")
    axes.plot(share, [drawn.vectors.var() / size for size in sizes], "s--", label="E(v̄_B − v̄)², with replacement")
    axes.set(xlabel="M / N", ylim=(0, None))
    right = axes.twinx()
    right.plot(share[:-1], [float(alpha(len(share), size, False)) for size in sizes[:-1]], "k:", label="α without replacement")
    right.set(yscale="log", ylabel="α")
    axes.legend(handles=[*axes.lines, *right.lines], loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


CLAIMS = {
    "F4": Claim(
        source="Kim et al. 2022, theorem 3.1 (eq. 13), after Khan et al. 2018, theorem 1",
        text="(1/N)Σvvᵀ = α E[v̄_B v̄_Bᵀ] + (1−α) v̄v̄ᵀ, B drawn with replacement, α = M(N−1)/(N−M)",
        tex=r"\tfrac1N \sum_i v_i v_i^\top = \alpha\, E_B[\bar v_B \bar v_B^\top] + (1-\alpha) \bar v \bar v^\top,"
        r"\quad \alpha = \frac{M(N-1)}{N-M} \text{ with replacement}",
        outcome=Outcome.CORRECTED,
        check=check,
        correction="that α is for drawing without replacement; with replacement α = M",
        correction_tex=r"\alpha = M \text{ with replacement},\quad \alpha = \frac{M(N-1)}{N-M} \text{ without}",
        smallest=Instance(np.array([[0], [0], [1]]), 2),
    ),
    "F5": Claim(
        source="Kim et al. 2022, remark after theorem 3.1 and footnote 2",
        text="where the batch mean is near the population mean, the mean of squares is near the squared mean",
        tex=r"\bar v_B \to \bar v \;\Rightarrow\; \tfrac1N \sum_i v_i v_i^\top \approx \bar v_B \bar v_B^\top",
        outcome=Outcome.FAILS,
        check=check_remark,
        correction="the gap is the per-sample covariance, whatever the batch size",
        correction_tex=r"\tfrac1N \sum_i v_i v_i^\top - \bar v \bar v^\top = \tfrac1N \sum_i (v_i-\bar v)(v_i-\bar v)^\top",
        smallest=Instance(np.array([[0], [1]]), 1),
    ),
}
