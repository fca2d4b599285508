"""Several steps of ascent through the optimizer: what ascend finds, a pass a step, and θ whole whatever happens."""

import math
from functools import partial
from types import CodeType

import pytest
import torch
from torch import nn

import geosam
from geosam import SAM, Copy, Swap, metrics, objectives
from geosam.core import vectors as vec
from geosam.measure.ascend import ascend
from geosam.optim.ascent import Ascent
from geosam.optim.move import Move
from geosam.solvers import MultiStep
from tests.interrupts import STEP, interrupt_at, lines_of
from tests.networks import Closure, build, clones, draw, labels, mlp, same

RHO = 0.3
X, Y = draw(6, 4, dtype=torch.float64), labels(6)


class TestSAM:
    """Through the optimizer."""

    @pytest.mark.parametrize("move", [Copy, Swap])
    @pytest.mark.parametrize("source", ["closure", "problem"])
    @pytest.mark.parametrize(
        "metric",
        [metrics.Euclidean(), metrics.ParameterScaled(), metrics.GradientMagnitude(1.0, 1e-3), metrics.Monge()],
        ids=repr,
    )
    def test_it_is_ascend_and_theta_comes_back(self, metric, source, move):
        model = build(mlp, dtype=torch.float64)
        bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
        want, values = ascend(bound, metric, RHO, 3, 0.7).epsilon, clones(model)
        opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric, RHO, solver=MultiStep(3, 0.7), move=move())
        in_place = Zeroing(model, X, Y)
        with opt.perturbed(bound if source == "problem" else in_place) as p:
            torch.testing.assert_close(p.epsilon, want, rtol=1e-9, atol=1e-12)
        assert same(clones(model), values)
        assert opt.last.report["steps"] == 3 and float(opt.last.radius) <= RHO * (1 + 1e-12)

    def test_steps_cost_a_pass_each(self):
        model = build(mlp, dtype=torch.float64)
        for steps in (1, 2, 4):
            closure = Closure(model, X, Y)
            SAM(torch.optim.SGD(model.parameters(), lr=0.1), solver=MultiStep(steps)).step(closure)
            assert closure.calls == steps + 1

    def test_one_step_trains_as_without(self):
        results = []
        for solver in (None, MultiStep(1)):
            model = build(mlp)
            opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), metrics.GradientMagnitude(), RHO, solver=solver)
            for _ in range(3):
                opt.step(Closure(model, X.float(), Y))
            results.append(clones(model))
        assert same(*results)

    def test_the_objective_s_memory_advances_once_a_step(self):
        model = build(mlp, dtype=torch.float64)
        opt = SAM(torch.optim.SGD(model.parameters(), lr=0.0), objective=objectives.Smoothed(0.5), solver=MultiStep(4))
        opt.step(Closure(model, X, Y))
        first = [t.clone() for t in opt.state_dict()["geosam"]["objective"]["average"]]
        opt.step(Closure(model, X, Y))
        torch.testing.assert_close(opt.state_dict()["geosam"]["objective"]["average"], first)

    def test_radii_of_groups(self):
        model = build(mlp, dtype=torch.float64)
        groups = [{"params": model[0].parameters(), "rho": 0.3}, {"params": model[2].parameters(), "rho": 0.0}]
        opt = SAM(torch.optim.SGD(groups, lr=0.1), solver=MultiStep(3))
        with opt.perturbed(Closure(model, X, Y)) as p:
            first, second = p.epsilon[:2], p.epsilon[2:]
        assert float(vec.norm(first)) == pytest.approx(0.3) and not any(e.any() for e in second)

    @pytest.mark.parametrize("move", [Copy, Swap])
    def test_an_interrupt_before_any_line(self, move):
        """Wherever it falls, θ is whole once the step has been left."""
        codes = lines_of(Move.displace, Move.restore, move._displace, move._put_back, *STEP)
        codes |= {c for c in Ascent._around.__code__.co_consts if isinstance(c, CodeType)}
        k, reached = 0, True
        while reached:
            k += 1
            model = build(mlp)
            opt, values = SAM(torch.optim.SGD(model.parameters(), lr=0.0), solver=MultiStep(2), move=move()), clones(model)
            reached = interrupt_at(k, codes, partial(opt.step, Closure(model, X.float(), Y)))
            assert same(clones(model), values), k
        assert k > 80

    def test_an_exception_in_a_later_pass_leaves_theta_whole(self):
        model = build(mlp, dtype=torch.float64)
        values, calls = clones(model), iter(range(10))

        def closure():
            if next(calls) == 2:
                raise RuntimeError("out of memory")
            return Closure(model, X, Y)()

        opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), solver=MultiStep(4))
        with pytest.raises(RuntimeError, match="out of memory"):
            opt.step(closure)
        assert same(clones(model), values)

    def test_a_later_pass_that_is_nan_gives_no_perturbation_and_a_plain_update(self):
        model, twin = build(mlp), build(mlp)
        x, calls = X.float(), iter(range(10))

        def closure():
            loss = Closure(model, x, Y)()
            if next(calls) == 1:
                model[0].bias.grad[0] = math.nan
            return loss

        opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), solver=MultiStep(2))
        opt.step(closure)
        torch.optim.SGD(twin.parameters(), lr=0.1).step(Closure(twin, x, Y))
        assert same(clones(model), clones(twin)) and not opt.last.finite and opt.last.radius == 0


class Zeroing(Closure):
    """Zeroes gradients in place, so that a later pass writes where the first one's gradient lies."""

    def __call__(self):
        self.calls += 1
        self.model.zero_grad(set_to_none=False)
        loss = self.loss()
        loss.backward()
        return loss
