"""Every row of the table trains, is saved and resumed, and takes what is not finite; by default rows that show every pair."""

import copy
import math
import pickle

import pytest
import torch

from geosam import Copy
from tests.networks import same
from tests.optim.faults import run
from tests.optim.table import BASES, SETTINGS, Fault, Row, Training, covering, every

SOME = covering()


@pytest.fixture(autouse=True)
def _no_fault_lasts():
    Fault.clear()
    yield
    Fault.clear()


def rows(chosen):
    return pytest.mark.parametrize("row", chosen, ids=str)


def check(row: Row) -> None:
    """The loss goes down, and a resumed run goes on bit for bit."""
    training = Training(row)
    losses = [training.step().item() for _ in range(2)]
    assert training.opt.last.finite and not training.opt.last.skipped
    state = training.state()
    losses += [training.step().item(), training.loss().item()]
    assert all(map(math.isfinite, losses)) and min(losses[1:]) < losses[0], losses
    end = training.weights()
    training.restarted(state).step()
    assert same(training.weights(), end)


@rows(SOME)
def test_a_row(row):
    check(row)


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS)
def test_the_whole_table(settings):
    wrong = []
    for row in sorted({row for row in every() if row.settings == settings} - set(SOME), key=str):
        try:
            check(row)
        except Exception as error:
            wrong.append(f"{row}: {type(error).__name__} {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_random_faults():
    done, wrong = run(1000, 10, seed=0)
    assert done["rows"] == 100 and not wrong, wrong


def test_a_few_random_faults():
    assert run(6, 3, seed=2)[1] == []


def test_every_pair_of_values_is_in_some_row():
    assert {row.settings for row in SOME} == set(SETTINGS) and {row.base for row in SOME} == set(BASES)
    assert len(SOME) < 100


class Spoiling(Copy):
    """Outputs are NaN while the parameters are away."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def displace(self, parameters, perturbation) -> None:
        super().displace(parameters, perturbation)
        Fault.act = lambda _: setattr(Fault, "factor", self.factor)

    def restore(self) -> None:
        super().restore()
        Fault.act = None


FAULTY = [row for row in SOME if row.settings not in ("Spectral", "MultiStep", "LayerWise") and row.base != "LBFGS"][::9]


@rows(FAULTY)
@pytest.mark.parametrize("factor", [math.nan, -math.inf])
def test_a_second_pass_that_is_not_finite(row, factor):
    training = Training(row)
    training.step()
    before, state = training.weights(), copy.deepcopy(training.opt.base.state_dict())
    training.opt.move = Spoiling(factor)
    training.step()
    assert same(training.weights(), before) and training.opt.last.skipped
    now = training.opt.base.state_dict()["state"]
    assert all(
        same([v for v in map(torch.as_tensor, s.values())], [*map(torch.as_tensor, now[k].values())])
        for k, s in state["state"].items()
    )


def copied(training: Training) -> Training:
    return training.twin()


def pickled(training: Training) -> Training:
    other = copy.copy(training)
    other.model, other.opt = pickle.loads(pickle.dumps((training.model, training.opt)))
    other.problem = other.unknown()
    return other


@rows(SOME[::9])
@pytest.mark.parametrize("way", [copied, pickled])
def test_a_model_and_its_optimizer_go_together(row, way):
    training = Training(row)
    training.step()
    other = way(training)
    held = {id(p) for group in other.opt.param_groups for p in group["params"]}
    assert held <= {id(p) for p in other.model.parameters()} and not held & {id(p) for p in training.model.parameters()}
    for each in (training, other):
        each.step()
    assert same(training.weights(), other.weights())


def test_repr_names_the_parts():
    for row in SOME:
        said = repr(Training(row).opt)
        for part in ("metric:", f"base: {row.base}", "ball: global", "update:", "rho: "):
            assert part in said, said
