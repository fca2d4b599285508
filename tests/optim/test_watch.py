"""KL where it is flat: the budget is met as asked, a warning says once how long ε is, and a cap limits it."""

import copy
import warnings

import pytest
import torch
from torch import nn

import geosam
from geosam import SAM
from geosam.core import vectors as vec
from geosam.metrics import Euclidean, KLExact
from geosam.optim import LongPerturbation
from geosam.optim.watch import average_size
from tests.networks import build, draw, labels

X, Y = draw(64, 20).abs(), labels(64, 10)
PLAIN = KLExact(along=Euclidean())


def wide() -> nn.Sequential:
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def start(metric: KLExact = PLAIN, rho: float = 0.2) -> tuple[SAM, geosam.problem.Bound]:
    model = build(wide)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.0), metric, rho)
    return opt, geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)


def test_the_size_is_the_mean_of_squared_singular_values():
    tensors = [draw(5, 3, 2), draw(4), draw(2, 7), torch.tensor(2.0), torch.zeros(0)]
    want = sum(
        torch.linalg.svdvals(t.flatten(1) if t.dim() > 1 else torch.diag(t.reshape(-1))).square().mean() for t in tensors[:4]
    )
    assert average_size(tensors).item() == pytest.approx(want.sqrt().item(), rel=1e-6)


def test_a_long_perturbation_is_told_once_and_the_budget_is_met():
    opt, bound = start()
    with pytest.warns(LongPerturbation, match=r"Warm the radius up.*KLExact\(cap=") as told:
        for _ in range(9):
            opt.step(bound)
    assert len(told) == 1
    assert opt.last.radius.item() == pytest.approx(0.2, rel=0.01)


def test_the_number_is_the_length_in_that_unit(monkeypatch):
    opt, bound = start()
    seen: list[float | None] = []
    monkeypatch.setattr(opt.watch, "check_length", seen.append)
    for _ in range(5):
        with opt.perturbed(bound) as p:
            length = vec.norm(p.epsilon)
        want = (length / average_size(list(bound.model.parameters()))).item()
        assert seen[-1] in (None, pytest.approx(want, rel=1e-4))
    assert [size is None for size in seen] == [False, False, True, False, True]


def test_neither_a_small_radius_nor_another_geometry_is_told():
    for metric, rho in ((PLAIN, 0.01), (Euclidean(), 5.0)):
        opt, bound = start(metric, rho)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            opt.step(bound)


class TestCap:
    """``KLExact(cap=...)``."""

    def test_the_length_is_at_most_the_cap_and_the_shortfall_is_told(self):
        opt, bound = start(KLExact(along=Euclidean(), cap=0.1))
        for _ in range(2):
            with opt.perturbed(bound) as p:
                epsilon = [e.clone() for e in p.epsilon]
            report = opt.last.report
            assert float(vec.norm(epsilon)) == pytest.approx(0.1, rel=1e-5) and report["capped"]
            reached = (2 * PLAIN.at(bound)(epsilon)).sqrt().item()
            assert opt.last.radius.item() == pytest.approx(reached, rel=1e-3) and 0 < report["shortfall"] < 1
            assert report["shortfall"] == pytest.approx(1 - reached / 0.2, abs=1e-3)

    def test_a_start_just_below_the_cap_is_told_as_capped_too(self):
        opt, bound = start(KLExact(along=Euclidean(), cap=0.1))
        opt.step(bound)
        opt.memory["solver"] = {"start": opt.last.report["multiple"] * 0.999}
        opt.step(bound)
        assert opt.last.report["capped"] and opt.last.report["shortfall"] > 0

    def test_a_cap_beyond_the_crossing_changes_nothing(self):
        runs = [start(KLExact(along=Euclidean(), cap=cap), rho=0.05) for cap in (None, 100.0)]
        for opt, bound in runs:
            opt.step(bound)
        (plain, _), (capped, _) = runs
        assert torch.equal(plain.last.radius, capped.last.radius) and not capped.last.report["capped"]
        assert capped.last.report["shortfall"] == 0

    def test_compare_and_solve_keep_it(self):
        _, bound = start()
        seen = geosam.observe(bound, PLAIN.needs)
        found = geosam.solve(KLExact(along=Euclidean(), cap=0.1).at(seen), seen.gradient, 0.2)
        assert float(vec.norm(found.epsilon)) == pytest.approx(0.1, rel=1e-5)

    @pytest.mark.parametrize("cap", [0, -1.0, float("inf"), "1", True])
    def test_what_is_no_length(self, cap):
        with pytest.raises((TypeError, ValueError), match="cap"):
            KLExact(cap=cap)

    def test_the_argmax_has_none(self):
        _, bound = start()
        seen = geosam.observe(bound, PLAIN.needs)
        with pytest.raises(ValueError, match=r"no cap.*Radial\(\)"):
            geosam.solve(KLExact(along=Euclidean(), cap=0.1).at(seen), seen.gradient, 0.2, geosam.solvers.Constrained())


def test_a_copy_tells_nothing_again():
    opt, bound = start()
    with pytest.warns(LongPerturbation):
        opt.step(bound)
    twin = copy.deepcopy(opt)
    assert twin.watch.warned and twin.watch.steps == 1
