"""Claims on planted differences: what is true is told from what is not, and from what so many seeds do not show."""

from types import SimpleNamespace

import pytest

from experiments.claims.ledger import ledger
from experiments.common.methods import ASAM, CONTROL, EQUAL, FSAM, NOISE, PLAIN, SAM, SGD
from geosam.ablation.outcomes import Outcomes

CLAIMS = {claim.parts.__name__: claim for _, claim in ledger()}
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
    "same_as_sam": {"clean": planted(TABLE, 1)},
    "better_than_plain": {"clean": planted(TABLE, 1)},
    "table_1": {"clean": planted(TABLE, 1)},
    "table_4": {f"noise-{r}": planted({**TABLE, ASAM: 0.91, SAM: 0.9302}, 1) for r in (0.2, 0.4)},
    "clean_is_null": {"clean": planted({SGD: 0.9, EQUAL: 0.91, SAM: 0.92, ASAM: 0.92, "Monge": 0.92}, 1)},
    "noise_is_not": {"noise-0.4": planted({SAM: 0.92, ASAM: 0.92, "Monge": 0.93}, 1)},
    "noise_weighted": {f"noise-{r}": planted(TABLE, 1) for r in (0.2, 0.4)},
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


@pytest.mark.parametrize("name", TRUE)
def test_what_is_so_holds(name):
    verdict, parts = CLAIMS[name].decide(TRUE[name])
    assert verdict.outcome == "holds", [str(part) for part in parts.values()]


@pytest.mark.parametrize(
    "name, a, b",
    [
        ("same_as_sam", CONTROL, SGD),
        ("better_than_plain", PLAIN, FSAM),
        ("table_1", SAM, FSAM),
        ("table_4", ASAM, FSAM),
        ("clean_is_null", ASAM, EQUAL),
        ("noise_weighted", NOISE, SAM),
    ],
)
def test_the_contrary_fails(name, a, b):
    verdict, _ = CLAIMS[name].decide(swapped(TRUE[name], a, b))
    assert verdict.outcome == "fails"


def test_no_difference_between_geometries_leaves_an_existence_open():
    alike = {"noise-0.4": planted({SAM: 0.92, ASAM: 0.92, "Monge": 0.92}, 1)}
    assert CLAIMS["noise_is_not"].decide(alike)[0].outcome == "not decided"


@pytest.mark.parametrize("name", TRUE)
def test_one_seed_a_missing_method_or_no_setting_decide_nothing(name):
    few = {name: Outcomes([r for r in outcomes.records if r.seed == 1], {}, 0) for name, outcomes in TRUE[name].items()}
    gone = {name: Outcomes([r for r in outcomes.records if r.result["method"] == SGD], {}, 0) for name, outcomes in few.items()}
    for found in (few, gone, {}):
        assert CLAIMS[name].decide(found)[0].outcome == "not decided"


def test_a_run_that_diverged_leaves_its_pair_open():
    found = {"clean": planted(TABLE, 1, diverged=(FSAM, 3))}
    verdict, parts = CLAIMS["better_than_plain"].decide(found)
    assert verdict.outcome == "not decided" and "1 of 8 pairs diverged" in next(iter(parts.values())).why
