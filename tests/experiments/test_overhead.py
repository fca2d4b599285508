"""A race of steps, and what it decides."""

from types import SimpleNamespace
from typing import Any

import pytest

from experiments.claims.ledger import ledger
from experiments.common.methods import ASAM, FSAM, MONGE, SGD
from experiments.overhead.study import AGAIN, PRESETS, Race, study, timed
from geosam.ablation.outcomes import Outcomes

CLAIMS = {claim.id: claim for name, claim in ledger() if name == "overhead"}
RULE = {"limit": 1.05, "void": 0.02}


def raced(low, high, again=1.001):
    numbers = {AGAIN: again}
    for name in (FSAM, MONGE):
        numbers |= {name: (low + high) / 2, f"{name} low": low, f"{name} high": high}
    records: list[Any] = [SimpleNamespace(title="a race", seed=0, config=RULE, result=numbers)]
    return {"all": Outcomes(records, {}, 1)}


@pytest.mark.parametrize("id", ("F18", "M1"))
def test_an_interval_on_one_side_of_the_limit_decides_where_the_clock_is_good(id):
    outcomes = {
        "holds": raced(0.99, 1.01),
        "fails": raced(1.2, 1.4),
        "not decided": raced(1.0, 1.1),
    }
    assert {expected: CLAIMS[id].decide(found)[0].outcome for expected, found in outcomes.items()} == {k: k for k in outcomes}
    assert CLAIMS[id].decide(raced(0.99, 1.01, again=1.03))[0].outcome == "not decided"


def test_every_method_is_timed_beside_sam_and_the_weights_stay():
    found = timed(Race("digit_mlp", (1, 8, 8), 8, 7))
    assert set(found) == {
        "SAM ms",
        *(f"{name}{end}" for name in (AGAIN, SGD, ASAM, FSAM, MONGE) for end in ("", " low", " high")),
    }
    assert all(found[f"{name} low"] <= found[name] <= found[f"{name} high"] for name in (AGAIN, SGD, FSAM, MONGE))
    assert found[SGD] < found[FSAM]


def test_the_published_race_is_that_of_the_paper():
    (race,) = PRESETS["wrn28-10"]
    assert (race.network, race.batch) == ("wrn28_10", 128)
    assert [case.rounds for case in study("medium", 9, "cpu", quick=False).cases] == [9, 9]
