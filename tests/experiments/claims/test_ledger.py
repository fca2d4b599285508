"""Claims on planted differences: what is true is told from what is not, and from what so many seeds do not show."""

from types import SimpleNamespace

import pytest

from experiments.claims.ledger import CLAIMS
from experiments.common.methods import ASAM, CONTROL, EQUAL, FSAM, NOISE, PLAIN, SAM, SGD
from geosam.ablation.outcomes import Outcomes

SEEDS = 8
WIGGLE = (0.0, 0.004, -0.003, 0.002, -0.001, 0.003, -0.002, 0.001)  # of a seed, which all methods share
OWN = (0.0001, -0.0002, 0.0002, 0.0, -0.0001, 0.0001, -0.0001, 0.0)  # of a run


def planted(means, shift=0, diverged=None):
    """Outcomes with these accuracies; a run's own deviation is that of the seed ``shift`` places on."""
    records = []
    for place, (name, mean) in enumerate(means.items()):
        for seed in range(SEEDS):
            accuracy = mean + WIGGLE[seed] + OWN[(seed + shift * place) % SEEDS]
            result = {"method": name, "test": {"accuracy": accuracy}, "diverged": (name, seed) == diverged}
            records.append(SimpleNamespace(seed=seed, result=result))
    return Outcomes(records, {}, len(records))


TABLE = {SGD: 0.90, EQUAL: 0.91, SAM: 0.92, ASAM: 0.92, FSAM: 0.93, CONTROL: 0.93, PLAIN: 0.92, NOISE: 0.93, "Monge": 0.92}
TRUE = {
    0: {"clean": planted(TABLE, 1)},
    1: {"clean": planted(TABLE, 1)},
    2: {"clean": planted(TABLE, 1)},
    3: {f"noise-{r}": planted({**TABLE, ASAM: 0.91, SAM: 0.9302}, 1) for r in (0.2, 0.4)},
    4: {"clean": planted({SGD: 0.9, EQUAL: 0.91, SAM: 0.92, ASAM: 0.92, "Monge": 0.92}, 1)},
    5: {"noise-0.4": planted({SAM: 0.92, ASAM: 0.92, "Monge": 0.93}, 1)},
    6: {f"noise-{r}": planted(TABLE, 1) for r in (0.2, 0.4)},
}
WORSE = {CONTROL: FSAM, PLAIN: FSAM, EQUAL: SAM, SAM: FSAM}


def swapped(found, a, b):
    """The same with two methods' names exchanged: what was better is worse."""
    names = {a: b, b: a}
    changed = {}
    for setting, outcomes in found.items():
        records = [
            SimpleNamespace(seed=r.seed, result={**r.result, "method": names.get(r.result["method"], r.result["method"])})
            for r in outcomes.records
        ]
        changed[setting] = Outcomes(records, {}, len(records))
    return changed


@pytest.mark.parametrize("index", TRUE)
def test_what_is_so_holds(index):
    verdict, parts = CLAIMS[index].decide(TRUE[index])
    assert verdict.outcome == "holds", [str(part) for part in parts.values()]


@pytest.mark.parametrize(
    "index, a, b", [(0, CONTROL, SGD), (1, PLAIN, FSAM), (2, SAM, FSAM), (3, ASAM, FSAM), (4, ASAM, EQUAL), (6, NOISE, SAM)]
)
def test_the_contrary_fails(index, a, b):
    verdict, _ = CLAIMS[index].decide(swapped(TRUE[index], a, b))
    assert verdict.outcome == "fails"


def test_no_difference_between_geometries_leaves_an_existence_open():
    alike = {"noise-0.4": planted({SAM: 0.92, ASAM: 0.92, "Monge": 0.92}, 1)}
    assert CLAIMS[5].decide(alike)[0].outcome == "not decided"


@pytest.mark.parametrize("index", TRUE)
def test_one_seed_a_missing_method_or_no_setting_decide_nothing(index):
    few = {name: Outcomes([r for r in outcomes.records if r.seed == 1], {}, 0) for name, outcomes in TRUE[index].items()}
    gone = {name: Outcomes([r for r in outcomes.records if r.result["method"] == SGD], {}, 0) for name, outcomes in few.items()}
    for found in (few, gone, {}):
        assert CLAIMS[index].decide(found)[0].outcome == "not decided"


def test_a_run_that_diverged_leaves_its_pair_open():
    found = {"clean": planted(TABLE, 1, diverged=(FSAM, 3))}
    verdict, parts = CLAIMS[1].decide(found)
    assert verdict.outcome == "not decided" and "1 of 8 pairs diverged" in next(iter(parts.values())).why
