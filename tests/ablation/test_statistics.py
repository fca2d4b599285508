"""Verdicts on planted truths: how often they are wrong, and how often they come."""

import math

import numpy as np
import pytest
from scipy import stats

from geosam.ablation import Rule, statistics

T = Rule(margin=1.0)
BCA = Rule(margin=1.0, resamples=799)


def samples(mean, n, times, seed=0, sd=1.0, skewed=False):
    random = np.random.default_rng(seed)
    noise = random.exponential(size=(times, n)) - 1 if skewed else random.normal(size=(times, n))
    return mean + sd * noise


def outcomes(decide, rows, rule):
    return [decide({"a": row}, rule)["a"].outcome for row in rows]


def at_most(count, times, level):
    """Not more than ``level`` of the times, by a binomial test that is wrong once in a thousand."""
    return stats.binom.sf(count - 1, times, level) > 1e-3


@pytest.mark.parametrize("n, rule, times", [(2, T, 300), (5, T, 300), (20, BCA, 200)])
def test_without_a_difference_at_most_five_per_cent_are_decided(n, rule, times):
    found = outcomes(statistics.differs, samples(0.0, n, times), rule)
    assert at_most(times - found.count("not decided"), times, 0.05)


def test_a_bootstrap_that_is_not_expanded_would_be_wrong_too_often():
    """At n = 20 its 95 % intervals hold the truth in 92.9 %: the test above can tell in 2,000 draws."""
    rows = samples(0.0, 20, 2000)
    t = rows.mean(1) / rows.std(1) * math.sqrt(20)  # the normal limit of the bootstrap, with its variance
    assert not at_most(int((abs(t) > stats.norm.ppf(0.975)).sum()), 2000, 0.05)


def test_of_several_methods_together_at_most_five_per_cent_are_wrong():
    rows = [dict(zip("abcdef", rows, strict=True)) for rows in np.split(samples(0.0, 6, 6 * 120, seed=1), 120)]
    wrong = sum(any(v.outcome != "not decided" for v in statistics.differs(row, T).values()) for row in rows)
    assert at_most(wrong, 120, 0.05)


@pytest.mark.parametrize("larger, outcome", [(True, "holds"), (False, "fails")])
def test_power_is_as_computed(larger, outcome):
    least = statistics.detectable(1.0, 8)
    assert least == pytest.approx(1.1556, abs=2e-3)  # G*Power: paired t, n = 8, power 0.8
    found = outcomes(statistics.differs, samples(least, 8, 400, seed=2), Rule(larger=larger))
    assert found.count(outcome) / 400 == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / 400))
    assert statistics.seeds_needed(least, 1.0) == 8


def test_equivalence_at_the_margin_is_shown_in_at_most_five_per_cent_and_without_a_difference_as_computed():
    rule, n = Rule(margin=1.0), 12
    assert at_most(outcomes(statistics.equivalent, samples(1.0, n, 300, seed=3), rule).count("holds"), 300, 0.05)
    found = outcomes(statistics.equivalent, samples(0.0, n, 300, seed=4, sd=1.2), rule)
    expected = statistics.equivalence_power(1.0, 1.2, n)
    assert found.count("holds") / 300 == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 300))
    assert at_most(found.count("fails"), 300, 0.05)
    seeds = statistics.equivalence_seeds(1.0, 1.2)
    assert statistics.equivalence_power(1.0, 1.2, seeds) >= 0.8 > statistics.equivalence_power(1.0, 1.2, seeds - 1)


@pytest.mark.parametrize(
    "differences, outcome",
    [
        ([0.0, 0.1, -0.1, 0.05], "holds"),
        ([0.2, 0.3, 0.25, 0.22], "holds"),
        ([3.0, 3.1, 2.9], "fails"),
        ([3.0, -3.0], "not decided"),
    ],
)
def test_equivalence_in_words(differences, outcome):
    found = statistics.equivalent({"a": differences}, T)["a"]
    assert found.outcome == outcome
    assert ("seeds would show" in found.why) == (outcome == "not decided") == (found.seeds is not None)


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("n", [7, 25])
def test_the_p_value_is_dual_to_the_interval(n, skewed):
    d = samples(0.35, n, 1, seed=5, skewed=skewed)[0]
    p = statistics.p_value(d, BCA)
    inside, outside = (statistics.interval(d, 1 - q, BCA) for q in (p * 0.8, p * 1.25))
    assert (inside.kind, outside.kind) == (("t", "t") if n < 20 else ("BCa", "BCa"))
    assert inside.low * inside.high <= 0 < outside.low * outside.high


def test_below_twenty_pairs_it_is_the_paired_t_test():
    d = samples(0.4, 9, 1)[0]
    found, known = statistics.interval(d), stats.ttest_1samp(d, 0)
    assert statistics.p_value(d) == pytest.approx(known.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(known.confidence_interval(0.95)))


def test_holm():
    assert statistics.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )


def test_what_cannot_be_decided_says_what_it_would_take():
    found = statistics.differs({"a": [0.1, -0.2, 0.4, 0.1], "one": [1.0]}, Rule(against="SAM"))
    assert [v.outcome for v in found.values()] == ["not decided"] * 2
    assert found["a"].seeds == statistics.seeds_needed(0.1, found["a"].interval.sd)
    assert f"about {found['a'].seeds} seeds" in found["a"].why and "two or more" in found["one"].why
    with pytest.raises(ValueError, match="not finite"):
        statistics.interval([1.0, math.nan])
    with pytest.raises(ValueError, match="margin"):
        statistics.equivalent({"a": [1.0, 2.0]}, Rule())


@pytest.mark.parametrize("given, outcome", [("hh", "holds"), ("hf", "fails"), ("hn", "not decided"), ("", "not decided")])
def test_all_of_them_hold(given, outcome):
    words = {"h": "holds", "f": "fails", "n": "not decided"}
    found = statistics.together("all", {str(i): statistics.Verdict("", words[c], "") for i, c in enumerate(given)})
    assert found.outcome == outcome


FIVE = [1 - k / 300 - (1 - (k + 5) / 300) for k in (4, 9, 17, 30, 41, 55)]


@pytest.mark.parametrize("n, outcome", [(2, "not decided"), (3, "not decided"), (6, "holds")])
def test_differences_that_are_equal_up_to_rounding_have_no_spread(n, outcome):
    """Five more of 300 test samples, from every seed: t would be 10^15."""
    assert len(set(FIVE)) > 1
    found = statistics.differs({"a": FIVE[:n]}, Rule())["a"]
    assert (found.outcome, found.p, found.detectable) == (outcome, 2.0 ** (1 - n), None) and "no spread" in found.why


@pytest.mark.parametrize("n, outcome", [(2, "not decided"), (4, "not decided"), (5, "holds")])
def test_ties_alone_show_no_equivalence_from_few_seeds(n, outcome):
    """Scores on a grid: from 2 seeds both are tied in 64 % of cases where 0.2 of the differences are a step of it."""
    found = statistics.equivalent({"a": [0.0] * n}, Rule(margin=1e-3))["a"]
    assert found.outcome == outcome and "sign test" in found.why
