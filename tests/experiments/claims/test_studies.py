"""The claims of each study on records with a planted truth, and on the same altered, which must be judged otherwise."""

from itertools import product
from typing import Any

import pytest

from experiments.claims.claim import Claim
from experiments.claims.ledger import ledger
from experiments.common.methods import ASAM, CONTROL, DIAGONAL, EQUAL, FSAM, KL, MONGE, SAM, SGD
from experiments.magnitude.presets import MAGNITUDE
from experiments.natural.presets import EACH, PAIRS, PROXIMAL
from experiments.sensitivity.presets import ETAS, GAMMAS, cell
from experiments.twotower.presets import GRID, MIDDLE
from experiments.twotower.presets import cell as cell_of
from geosam.ablation.statistics import Verdict
from tests.experiments.planted import outcomes

CLAIMS = {(study, claim.parts.__name__): claim for study, claim in ledger()}


def budget(**drift):
    kls = {SAM: 8.0, ASAM: 8.0, FSAM: 1.2, KL: 1.0} | {{"fsam": FSAM, "kl": KL, "sam": SAM}[k]: v for k, v in drift.items()}
    rows = {name: ({}, [{}, {"kl": 1e-2}, {"kl": 1e-2 * factor}]) for name, factor in kls.items()}
    return {"clean": outcomes(rows, look={"factor": 2.0})}


def sensitivity(low=0.0, edge=-0.1, best=0.005, gap=1e-5):
    def accuracy(gamma, eta):
        if gamma == 1.0:
            return 0.9 + edge
        return 0.9 + (best if gamma in (0.1, 0.5) and 0.01 <= eta <= 1 else 0.0) - (low if gamma == 0.01 else 0.0)

    rows = {cell(g, e): ({"accuracy": accuracy(g, e)}, [{"gap": gap}]) for g, e in product(GAMMAS, ETAS)}
    return {"clean": outcomes(rows, look={"limit": 1e-3})}


def perturb(fsam=0.6, control=0.55, last=0.11):
    area, least = "adversarial, Euclidean, area", "adversarial, Euclidean, α 5"
    areas = {EQUAL: 0.4, SAM: 0.5, FSAM: fsam, CONTROL: control}
    rows = {name: ({area: value, least: last}, []) for name, value in areas.items()}
    return {"clean": outcomes(rows, score={"alphas": [0.1, 5.0], "chance": 0.1, "near": 0.05})}


def magnitude(direction=0.95, scale=0.9, accuracy=0.9):
    look = {"direction": direction, "epsilon": 0.95, "scale": scale, "fisher": 1.1}
    rows = {SAM: ({"accuracy": 0.9}, [look]), DIAGONAL: ({"accuracy": 0.9}, []), MAGNITUDE: ({"accuracy": accuracy}, [])}
    return {"clean": outcomes(rows, look={"least": 0.9, "factor": 2.0})}


def natural(gain=0.05, each=0.03, proximal=0.02):
    rows = {name: ({"accuracy": 0.8}, []) for _, name in PAIRS}
    rows |= {name: ({"accuracy": 0.8 + gain}, []) for name, _ in PAIRS}
    return {"clean": outcomes(rows | {EACH: ({"accuracy": 0.8 + each}, []), PROXIMAL: ({"accuracy": 0.8 + proximal}, [])})}


def twotower(monge=0.3, sgd=0.25):
    ends = {MONGE: monge, SAM: 0.05, ASAM: 0.06}
    grid = {cell_of(n, r): ({"accuracy": 0.4 if r < GRID[2] else end}, []) for n, end in ends.items() for r in GRID}
    return {"clean": outcomes(grid | {SGD: ({"accuracy": sgd}, [])})}


def weak(found=0.4):
    return {"clean": outcomes({cell_of(MONGE, MIDDLE): ({"accuracy": found}, []), SGD: ({"accuracy": 0.2}, [])})}


def finetune(first=0.05, five=0.02):
    rows = {name: ({"accuracy": 0.8, "top5": 0.9}, []) for name in (SGD, SAM, ASAM)}
    return {"clean": outcomes(rows | {FSAM: ({"accuracy": 0.8 + first, "top5": 0.9 + five}, [])})}


CASES: list[tuple[Any, ...]] = [
    ("natural", "natural", natural, {}, {"gain": -0.05}),
    ("natural", "each_part", natural, {}, {"each": -0.03}),
    ("natural", "proximal", natural, {}, {"proximal": -0.02}),
    ("twotower", "robust", twotower, {}, {"monge": 0.01}),
    ("twotower", "works", weak, {}, {"found": 0.02}),
    ("twotower", "helps", twotower, {}, {"sgd": 0.5}),
    ("finetune", "first", finetune, {}, {"first": -0.05}),
    ("finetune", "five", finetune, {}, {"five": -0.02}),
    ("budget", "probes", budget, {}, {"fsam": 8.0}),
    ("budget", "probes", budget, {}, {"sam": 1.1}),
    ("budget", "ball_of_kl", budget, {}, {"kl": 8.0}),
    ("sensitivity", "insensitive", sensitivity, {}, {"low": 0.05}),
    ("sensitivity", "insensitive", sensitivity, {}, {"edge": 0.05}),
    ("sensitivity", "best", sensitivity, {}, {"best": -0.005}),
    ("sensitivity", "in_effect_sam", sensitivity, {}, {"gap": 0.1}),
    ("perturb", "degrades_least", perturb, {}, {"fsam": 0.45}),
    ("perturb", "by_radius", perturb, {}, {"control": 0.65}),
    ("perturb", "nonsensical", perturb, {}, {"last": 0.5}),
    ("magnitude", "stands_in", magnitude, {}, {"direction": 0.5}),
    ("magnitude", "stands_in", magnitude, {}, {"scale": 0.02}),
    ("magnitude", "stands_in", magnitude, {}, {"accuracy": 0.8}),
]


@pytest.mark.parametrize("study, parts, planted, so, altered", CASES)
def test_what_is_so_holds_and_the_altered_fails(study, parts, planted, so, altered):
    claim = CLAIMS[study, parts]
    verdict, each = claim.decide(planted(**so))
    assert verdict.outcome == "holds", [str(part) for part in each.values()]
    assert claim.decide(planted(**altered))[0].outcome == "fails"


@pytest.mark.parametrize("study, claim", ledger(), ids=lambda value: value if isinstance(value, str) else value.parts.__name__)
def test_nothing_is_decided_without_records(study, claim):
    assert claim.decide({})[0].outcome == "not decided"


def test_a_claim_that_fails_may_hold_with_a_correction():
    def judged(outcome):
        return lambda found: {outcome: Verdict("", outcome, "")}

    for instead, expected in (("holds", "holds with a correction"), ("not decided", "fails"), ("fails", "fails")):
        claim = Claim("F0", "as printed", judged("fails"), "what is true", judged(instead))
        assert claim.decide({})[0].outcome == expected
    open_still = Claim("F0", "as printed", judged("not decided"), "what is true", judged("holds"))
    assert open_still.decide({})[0].outcome == "not decided"


def test_every_row_of_the_papers_that_a_study_here_has_is_in_the_ledger():
    assert {"F10", "F11", "F12", "F13", "F15", "F14", "F16", "F17", "F19", "F20", "M5", "P2"} <= {
        claim.id for _, claim in ledger()
    }
