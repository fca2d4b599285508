"""Counts against counting by hand."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from experiments.toy.config import LOSSES, MATCHED, NAMES, SMALL_MU, Config, Settings
from experiments.toy.run import count
from experiments.toy.summary import NO_RADIUS, duel, interval, summarise
from theory.toy_dynamics import METHODS
from theory.toy_ends import End


@given(st.lists(st.tuples(st.sampled_from(list(End)), st.sampled_from(list(End))), max_size=30))
def test_a_duel_is_counted_as_by_hand(pairs):
    table = pd.DataFrame(pairs, columns=["FSAM", "SAM"]).astype(int)
    found = duel(table, "SAM")
    sharp = [mine for mine, theirs in pairs if theirs is End.SHARP and mine is not End.UNSETTLED]
    assert found["wins"] == pairs.count((End.FLAT, End.SHARP)) and found["losses"] == pairs.count((End.SHARP, End.FLAT))
    sides = [(mine.side, theirs.side) for mine, theirs in pairs]
    assert found["crossed"] == sides.count((End.FLAT_SIDE, End.SHARP_SIDE))
    assert found["recrossed"] == sides.count((End.SHARP_SIDE, End.FLAT_SIDE))
    assert found["sharp"] == len(sharp)
    if sharp:
        assert found["then"] == sum(mine.side is End.FLAT_SIDE for mine in sharp) / len(sharp)
        assert found["then_low"] <= found["then"] <= found["then_high"]
    else:
        assert math.isnan(found["then"])


@given(st.integers(1, 200), st.data())
def test_intervals_are_clopper_and_pearson_s(n, data):
    k = data.draw(st.integers(0, n))
    value, low, high = interval(k, n)
    assert value == k / n
    assert low == pytest.approx(beta.ppf(0.025, k, n - k + 1) if k else 0, abs=1e-9)
    assert high == pytest.approx(beta.ppf(0.975, k + 1, n - k) if k < n else 1, abs=1e-9)


def test_where_no_kl_ball_is_as_long_nothing_has_left():
    """At equal first steps: KL is counted apart where FSAM's first probe leaves σ > 0, and there alone."""
    config = Config(seeds=1, settings=60, ranges=Settings(steps=20), small=replace(SMALL_MU, steps=20))
    job = next(job for job in config.chunks() if job.design == MATCHED and job.settings == config.ranges)
    record: Any = SimpleNamespace(result=count(job))
    table = summarise(config, [(job, record)], [], []).ends(job.loss, MATCHED)
    theta, _, rho = job.settings.draw(LOSSES[job.loss], job.seed, job.n)
    probe = theta + METHODS["FSAM"](theta, LOSSES[job.loss].gradient(theta), rho)
    without = int((probe[1] <= 0).sum())
    assert 0 < without < job.n and table[NO_RADIUS].to_dict() == {**dict.fromkeys(NAMES, 0), "KL": without}
    assert table.loc["KL", "LEFT"] == record.result.ends["KL"].count(str(int(End.LEFT))) - without
