"""Intervals and p-values of a mean of paired differences: Student's t for few seeds, BCa bootstrap for many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .rule import Rule
from .scipy import stats

Numbers = Sequence[float] | NDArray[Any]
_ROUNDING = 1e-9
"""Of the mean: 0.93 − 0.91 and 0.95 − 0.93 differ by 10⁻¹⁶, and are equal."""


@dataclass(frozen=True)
class Interval:
    """Of the mean difference. kind: "t" or "BCa"; n: pairs; sd: of a difference."""

    low: float
    high: float
    level: float
    kind: str
    mean: float
    sd: float
    n: int


def interval(differences: Numbers, level: float = 0.95, rule: Rule | None = None) -> Interval:
    """A two-sided interval of confidence ``level``.

    Below ``rule.bootstrap`` = 20 pairs mean ± t s/√n. From there BCa, expanded: its normal quantiles z are taken at
    z = t √(n/(n−1)), because the bootstrap's variance is that of a population of n and its tails are the normal ones; without
    this a 95 % interval of 20 normal differences holds the truth in 92.9 % of cases. The resamples are drawn from a fixed seed.
    Source: Efron 1987; Hesterberg 2015, section 4.2. Raises: ValueError with fewer than two differences, or one not finite.
    """
    rule = rule or Rule()
    d = _checked(differences)
    n, mean, sd = len(d), float(d.mean()), spread(d)
    t = float(stats().t.ppf(0.5 + level / 2, n - 1))
    kind = _kind(d, rule)
    if kind == "t":
        low, high = mean - t * sd / math.sqrt(n), mean + t * sd / math.sqrt(n)
    else:
        expanded = 2 * float(stats().norm.cdf(t * math.sqrt(n / (n - 1)))) - 1
        low, high = (float(v) for v in _bootstrap(d, rule, expanded).confidence_interval)
    return Interval(low, high, level, kind, mean, sd, n)


def p_value(differences: Numbers, rule: Rule | None = None) -> float:
    """Two-sided, of the hypothesis that the mean is 0: below 1 − level where ``interval`` leaves 0 out.

    Equal differences have no spread to go by, and scores on a grid (a count of test samples) are equal by chance: they have
    the p of the sign test, 2^(1 − n).
    """
    rule = rule or Rule()
    d = _checked(differences)
    n, sd = len(d), spread(d)
    if sd == 0:
        return 1.0 if d.mean() == 0 else 2.0 ** (1 - n)
    if _kind(d, rule) == "t":
        return float(2 * stats().t.sf(abs(d.mean()) / sd * math.sqrt(n), n - 1))
    z = _normal_score_of_zero(d, rule)
    return float(2 * stats().t.sf(abs(z) * math.sqrt((n - 1) / n), n - 1))


def spread(differences: Numbers) -> float:
    """The standard deviation of a difference; 0 where all are equal up to rounding, which is no spread to divide by."""
    d = _checked(differences)
    sd, mean = float(d.std(ddof=1)), float(d.mean())
    return sd if sd > _ROUNDING * abs(mean) else 0.0


def _normal_score_of_zero(d: NDArray[Any], rule: Rule) -> float:
    """The z at which a BCa endpoint falls on 0.

    BCa's endpoint at z is the quantile Φ(z₀ + (z₀ + z)/(1 − a(z₀ + z))) of the resampled means. With Φ⁻¹ of the part of them
    below 0 called z₀ + w, w = (z₀ + z)/(1 − a(z₀ + z)), hence z = w/(1 + a w) − z₀.
    """
    resampled = _bootstrap(d, rule, 0.95).bootstrap_distribution
    norm, count = stats().norm, len(resampled)

    def score(below: float) -> float:
        return float(norm.ppf(min(max(below, 0.5 / count), 1 - 0.5 / count)))

    z0 = score(_below(resampled, float(d.mean())))
    w = score(_below(resampled, 0.0)) - z0
    centred = d - d.mean()
    a = float((centred**3).sum() / (6 * (centred**2).sum() ** 1.5))  # of a mean, by the jackknife
    return w / (1 + a * w) - z0


def _below(values: NDArray[Any], at: float) -> float:
    return float(((values < at).mean() + (values <= at).mean()) / 2)


def _bootstrap(d: NDArray[Any], rule: Rule, level: float) -> Any:
    return stats().bootstrap(
        (d,), np.mean, confidence_level=level, n_resamples=rule.resamples, method="BCa", vectorized=True,
        rng=np.random.default_rng(0), axis=-1,
    )  # fmt: skip


def _kind(d: NDArray[Any], rule: Rule) -> str:
    return "BCa" if len(d) >= rule.bootstrap and spread(d) > 0 else "t"


def _checked(differences: Numbers) -> NDArray[Any]:
    d = np.asarray(differences, dtype=float)
    if d.ndim != 1 or len(d) < 2:
        raise ValueError(f"an interval needs two paired differences or more, got {d.size}")
    if not np.isfinite(d).all():
        raise ValueError("a difference is not finite: say that a run diverged, instead of averaging over it")
    return d
