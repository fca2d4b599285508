"""The facade keeps torch.optim's contract: names, assignments, hooks, copies and what only the base optimizer has."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam import SAM
from geosam.core import vectors as vec
from geosam.metrics import Euclidean
from geosam.objectives import Smoothed
from tests.networks import Closure, build, clones, draw, labels, mlp, same

X, Y = draw(6, 4), labels(6)


def length(opt: SAM, model: nn.Module) -> float:
    with opt.perturbed(Closure(model, X, Y)) as p:
        return float(vec.norm(p.epsilon))


class OwnRho(torch.optim.SGD):
    """A base optimizer whose groups have a rho that is no radius."""

    def __init__(self, params: object, rho: float = 7.0) -> None:
        super().__init__(params, lr=0.1)
        self.defaults["rho"] = rho
        for group in self.param_groups:
            group.setdefault("rho", rho)


class TestRadius:
    """One name for the radius, and all ways to set it."""

    @pytest.mark.parametrize("base", [torch.optim.Adadelta, OwnRho])
    def test_a_base_with_a_rho_keeps_it(self, base):
        model = build(mlp)
        opt = SAM(base(model[0].parameters()), rho=0.2)
        own = opt.base.defaults["rho"]
        assert length(opt, model) == pytest.approx(0.2, rel=1e-5)
        opt.add_param_group({"params": list(model[2].parameters()), "sam_rho": 0.3})
        assert [(g["rho"], g["sam_rho"]) for g in opt.param_groups] == [(own, 0.2), (own, 0.3)]
        opt.param_groups[1]["sam_rho"] = 0.2
        opt.rho = 0.1
        assert opt.rho == 0.1 and length(opt, model) == pytest.approx(0.1, rel=1e-5)
        assert [g["rho"] for g in opt.param_groups] == [own, own]
        saved = opt.state_dict()
        opt.rho = 0.0
        opt.load_state_dict(saved)
        assert opt.rho == 0.1
        for group in saved["param_groups"]:
            del group["sam_rho"]  # a checkpoint of the plain base optimizer
        opt.load_state_dict(saved)
        assert opt.rho == 0.0 and [g["rho"] for g in opt.param_groups] == [own, own]

    def test_a_base_with_both_names_is_refused(self):
        base = OwnRho(build(mlp).parameters())
        base.defaults["sam_rho"] = 1.0
        with pytest.raises(ValueError, match="no name for the radius"):
            SAM(base)

    @pytest.mark.parametrize("rho", [np.float32(0.25), np.array(0.25), torch.tensor(0.25), torch.tensor(0.25).double(), 0.25])
    def test_numbers_of_every_kind(self, rho):
        model = build(mlp)
        assert length(SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=rho), model) == pytest.approx(0.25, rel=1e-5)
        opt = SAM(torch.optim.SGD([{"params": model.parameters(), "rho": rho}], lr=0.1))
        assert length(opt, model) == pytest.approx(0.25, rel=1e-5)

    @pytest.mark.parametrize("rho", [True, "0.1", None, torch.ones(1), 1j, -0.1, float("nan"), np.float32("inf")])
    def test_what_is_no_radius(self, rho):
        opt = SAM(torch.optim.SGD(build(mlp).parameters(), lr=0.1))
        with pytest.raises((TypeError, ValueError), match="rho must be"):
            opt.rho = rho
        assert opt.rho == 0.05

    def test_one_radius_is_not_set_over_several(self):
        model = build(mlp)
        groups = [{"params": model[0].parameters(), "rho": 0.3}, {"params": model[2].parameters(), "rho": 0.0}]
        opt = SAM(torch.optim.SGD(groups, lr=0.1))
        with pytest.raises(ValueError, match="radii of their own"):
            opt.rho = 0.1
        assert [g["rho"] for g in opt.param_groups] == [0.3, 0.0]

    def test_groups_that_reach_the_base_by_other_ways(self):
        model = build(mlp)
        base = torch.optim.SGD(model[0].parameters(), lr=0.1)
        opt, saved = SAM(base, rho=0.2), torch.optim.SGD(model[0].parameters(), lr=0.1).state_dict()
        base.load_state_dict(saved)
        base.add_param_group({"params": list(model[2].parameters())})
        assert length(opt, model) == pytest.approx(0.2, rel=1e-5)


class TestMaximise:
    """The worst point is the one that is worse for the base optimizer."""

    @pytest.mark.parametrize(
        "metric", [Euclidean(), geosam.metrics.EmpiricalFisher(), geosam.metrics.KLExact(), geosam.metrics.Monge()], ids=repr
    )
    @pytest.mark.parametrize("solver", [None, geosam.solvers.MultiStep(2)], ids=repr)
    def test_it_is_the_descent_of_the_negative(self, metric, solver):
        if solver and isinstance(metric, geosam.metrics.KLExact):
            return
        ends = []
        for sign in (1, -1):
            model = build(mlp, dtype=torch.float64)
            base = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, maximize=sign < 0)
            opt = SAM(base, metric, rho=0.3, objective=Smoothed(0.5), solver=solver, update=geosam.updates.SurrogateGap(0.3))
            loss = F.cross_entropy if sign > 0 else lambda z, y: -F.cross_entropy(z, y)
            problem = geosam.Problem(model, loss, likelihood=lambda z: torch.distributions.Categorical(logits=z))
            for _ in range(3):
                opt.step(problem.on(X.double(), Y))
            assert opt.last.dual_norm > 0 and opt.last.radius.item() == pytest.approx(0.3, rel=0.02)
            ends.append(clones(model))
        for a, b in zip(*ends, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)

    def test_groups_of_both_kinds(self):
        """A saddle: the first group minimises and the second maximises."""
        a, b = (nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64)) for _ in range(2))
        opt = SAM(torch.optim.SGD([{"params": [a]}, {"params": [b], "maximize": True}], lr=0.1), rho=0.1)

        def closure() -> Tensor:
            opt.zero_grad()
            loss = a.square().sum() + 2 * b.sum()
            loss.backward()
            return loss

        g = torch.tensor([2.0, 4.0, -2.0, -2.0], dtype=torch.float64)
        with opt.perturbed(closure) as p:
            torch.testing.assert_close(torch.cat(p.epsilon), 0.1 * g / g.norm())


class TestPassedOn:
    """What belongs to the base optimizer reaches it."""

    def test_state_and_groups_can_be_assigned(self):
        model = build(mlp)
        opt = SAM(torch.optim.Adam(model.parameters(), lr=0.1))
        opt.step(Closure(model, X, Y))
        opt.state = type(opt.state)(dict)
        assert not opt.base.state
        opt.param_groups = [{**g, "lr": 0.0} for g in opt.param_groups]
        before = clones(model)
        opt.step(Closure(model, X, Y))
        assert same(clones(model), before) and opt.base.param_groups[0]["lr"] == 0.0

    def test_methods_that_only_the_base_has(self):
        class Schedulefree(torch.optim.SGD):
            mode = "train"

            def eval(self) -> None:
                self.mode = "eval"

        opt = SAM(base := Schedulefree(build(mlp).parameters(), lr=0.1))
        opt.eval()
        assert opt.mode == base.mode == "eval" and not hasattr(opt, "train")
        with pytest.raises(AttributeError, match="neither SAM nor Schedulefree has an attribute 'trian'"):
            opt.trian()
        assert not hasattr(SAM.__new__(SAM), "base")

    def test_hooks_of_checkpoints(self):
        model, seen = build(mlp), []
        opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), objective=Smoothed())
        opt.step(Closure(model, X, Y))
        opt.register_state_dict_pre_hook(lambda o: seen.append("before saving"))
        opt.register_state_dict_post_hook(lambda o, state: {**state, "extra": 1})
        opt.register_load_state_dict_pre_hook(lambda o, state: {k: v for k, v in state.items() if k != "extra"})
        opt.register_load_state_dict_post_hook(lambda o: seen.append("after loading"))
        saved = opt.state_dict()
        assert saved["extra"] == 1 and "geosam" in saved
        opt.load_state_dict(saved)
        assert seen == ["before saving", "after loading"] and opt.state_dict()["geosam"]["objective"]

    def test_copies_and_pickles_leave_hooks_behind(self):
        model = build(mlp)
        opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.3)
        opt.register_step_post_hook(lambda *_: None)
        torch.optim.lr_scheduler.StepLR(opt, 1)
        for twin, other in (copy.deepcopy((model, opt)), pickle.loads(pickle.dumps((model, opt)))):
            assert other.base is not opt.base and other.rho == 0.3
            before = clones(twin)
            other.step(Closure(twin, X, Y))
            assert not same(clones(twin), before) and other.last.radius == pytest.approx(0.3)

    def test_repr_names_the_parts(self):
        text = repr(SAM(torch.optim.Adam(build(mlp).parameters()), Euclidean(), objective=Smoothed(0.5)))
        assert all(
            part in text for part in ("SAM", "Adam", "Euclidean()", "Smoothed(decay=0.5)", "Sharp()", "lr: 0.001", "rho")
        )


@pytest.mark.parametrize(
    "name, value",
    [("metric", Euclidean), ("objective", Smoothed), ("update", geosam.updates.Sharp), ("move", geosam.Copy)],
)
def test_a_class_in_place_of_an_instance_is_named(name, value):
    model = build(mlp)
    with pytest.raises(TypeError, match=rf"{name} must be an instance of .*, and is a class: pass {value.__name__}\(\)"):
        SAM(torch.optim.SGD(model.parameters(), lr=0.1), **{name: value})
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(TypeError, match=f"{name} must be an instance"):
        setattr(opt, name, value)
    with pytest.raises(TypeError, match=name):
        setattr(opt, name, None)
