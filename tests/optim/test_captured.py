"""A captured step: the same as ordinary ones, under schedules and after checkpoints, or a refusal that changes nothing."""

import math
import random

import pytest
import torch
from torch import Tensor, nn

import geosam
from geosam import SAM, Swap, metrics, objectives, solvers, updates
from geosam.optim import Captured
from tests.networks import clones, draw, labels, mlp, same
from tests.optim.tape import Taped
from tests.placement import device, reads_switched_off

CUDA = pytest.param(True, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"))
GRAPHS = [pytest.param(False, marks=pytest.mark.skipif(device().type != "cpu", reason="the tape is for the CPU")), CUDA]
BATCHES = [(draw(6, 4, seed=k), labels(6, 3)) for k in range(20)]


def sgd(model: nn.Module, **settings: object) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, dampening=0.1, fused=True, **settings)


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=0.01, capturable=True, fused=True)


def network() -> nn.Module:
    """With running statistics, and random numbers; no bias whose gradient would be 0 but for rounding."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 3))


def training(make=network, base=sgd, place: str = "cpu", **settings: object) -> tuple[nn.Module, SAM, geosam.Problem]:
    model = make().to(place)
    opt = SAM(base(model), **{"rho": 0.1, **settings})
    return model, opt, geosam.Problem(model, nn.CrossEntropyLoss())


def captured(opt: SAM, problem: geosam.Problem, graph: bool = False) -> Captured:
    x, y = BATCHES[0]
    return opt.captured(problem, x, y) if graph else Captured(opt, problem, x, y, Taped())


def followed(opt: SAM, k: int) -> None:
    """A schedule of both numbers."""
    for group in opt.param_groups:
        group["lr"] = 0.1 / (1 + k)
        group["rho"] = 0.1 * math.cos(0.05 * k)


SETTINGS = {
    "plain": {},
    "ḡ²": {"metric": metrics.GradientMagnitude()},
    "ASAM": {"metric": metrics.ParameterScaled(), "move": Swap()},
    "Monge": {"metric": metrics.Monge()},
    "VaSSO": {"objective": objectives.Smoothed()},
    "GSAM": {"update": updates.SurrogateGap()},
    "natural": {"metric": metrics.GradientMagnitude(), "update": updates.Natural()},
    "Adam": {"base": adam},
}


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_twenty_replays_under_a_schedule_are_twenty_steps(settings, graph):
    place, results = "cuda" if graph else "cpu", []
    for replays in (False, True):
        with reads_switched_off():
            model, opt, problem = training(place=place, **settings)
            step = captured(opt, problem, graph) if replays else None
            torch.manual_seed(0)
            losses = []
            for k, (x, y) in enumerate(BATCHES):
                followed(opt, k)
                losses.append(step(x, y) if step else opt.step(problem.on(x.to(place), y.to(place))))
        assert opt.last is not None and opt.last.radius.item() == pytest.approx(opt.rho)
        grads = [p.grad for p in model.parameters()]
        results.append([*clones(model), *(b.clone() for b in model.buffers()), torch.stack(losses), *grads])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def everything(model: nn.Module, opt: SAM) -> list[Tensor]:
    state = [v for p in model.parameters() for v in opt.state.get(p, {}).values() if isinstance(v, Tensor)]
    return [t.clone() for t in (*model.parameters(), *model.buffers(), *state, torch.get_rng_state())]


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("steps", [0, 2])
def test_capturing_changes_nothing(steps, graph):
    place = "cuda" if graph else "cpu"
    with reads_switched_off():
        model, opt, problem = training(place=place, objective=objectives.Smoothed())
        for x, y in BATCHES[:steps]:
            opt.step(problem.on(x.to(place), y.to(place)))
        before, grads, last = everything(model, opt), [p.grad for p in model.parameters()], opt.last
        groups = [dict(group) for group in opt.param_groups]
        captured(opt, problem, graph)
        assert same(everything(model, opt), before) and opt.last is last and opt.param_groups == groups
        assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))


def test_a_checkpoint_and_ordinary_steps_may_come_between():
    results = []
    for replays in (False, True):
        with reads_switched_off():
            model, opt, problem = training(base=adam, objective=objectives.Smoothed())
            take = captured(opt, problem) if replays else lambda x, y, opt=opt, problem=problem: opt.step(problem.on(x, y))
            torch.manual_seed(0)
            for x, y in BATCHES[:3]:
                take(x, y)
            kept = opt.state_dict()
            opt.step(problem.on(*BATCHES[3]))
            opt.load_state_dict(kept)
            for k, (x, y) in enumerate(BATCHES[4:8]):
                opt.rho = 0.0 if k == 1 else 0.1
                take(x, y)
            results.append(clones(model))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_a_schedule_may_begin_at_radius_zero():
    with reads_switched_off():
        _, opt, problem = training(make=mlp, rho=0.0)
        step = captured(opt, problem)
        step(*BATCHES[0])
        opt.rho = 0.3
        step(*BATCHES[1])
        assert opt.last.radius.item() == pytest.approx(0.3)


class OnTheHost(nn.Module):
    """Skips a layer by a number drawn on the host."""

    def __init__(self, draw_number):
        super().__init__()
        self.net, self.draw_number = mlp(), draw_number

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * (2.0 if self.draw_number() < 0.5 else 1.0)


class Reading(nn.Module):
    """Asks for a number of the device."""

    def __init__(self):
        super().__init__()
        self.net = mlp()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) if x.sum() > -1e9 else x[:, :3]


REFUSED = {
    "a read by request": ({"raise_nonfinite": True}, "raise_nonfinite"),
    "SGD's rate": ({"base": lambda m: torch.optim.SGD(m.parameters(), lr=0.1)}, "fused=True"),
    "Adam's counters": ({"base": lambda m: torch.optim.Adam(m.parameters())}, "capturable=True"),
    "KL": ({"metric": metrics.KLExact(along=metrics.Euclidean())}, "host"),
    "a model's read": ({"make": Reading}, "host"),
    "a model's number": ({"make": lambda: OnTheHost(random.random)}, "random numbers on the host"),
    "a counter": ({"objective": objectives.Eigen(every=3, iterations=1)}, "counts"),
}


@pytest.mark.parametrize("settings, reason", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_a_graph_is_refused_and_leaves_all_as_it_was(settings, reason):
    with reads_switched_off():
        model, opt, problem = training(**{"make": mlp, **settings})
        before, drawn = everything(model, opt), random.getstate()
        with pytest.raises(RuntimeError, match=reason):
            captured(opt, problem)
        assert same(everything(model, opt), before) and random.getstate() == drawn and opt.last is None
        opt.step(problem.on(*BATCHES[0]))


def test_without_cuda_the_reason_is_given():
    _, opt, problem = training(make=mlp)
    with pytest.raises(RuntimeError, match=r"CUDA graph, and the parameters are on cpu.*opt\.step"):
        opt.captured(problem, *BATCHES[0])
    lbfgs = SAM(torch.optim.LBFGS(problem.model.parameters()))
    with pytest.raises(RuntimeError, match="LBFGS decides on the host"):
        lbfgs.captured(problem, *BATCHES[0])


def other_momentum(model, opt):
    opt.param_groups[0]["momentum"] = 0.5


def other_mode(model, opt):
    model.eval()


def other_memory(model, opt):
    model[0].weight.data = model[0].weight.data.clone()


def other_metric(model, opt):
    opt.metric = metrics.Monge()


CHANGES = {"settings": other_momentum, "mode": other_mode, "parameters": other_memory, "parts": other_metric}


@pytest.mark.parametrize("name", CHANGES)
def test_what_the_graph_has_fixed_must_not_change(name):
    with reads_switched_off():
        model, opt, problem = training(make=mlp)
        step = captured(opt, problem)
        step(*BATCHES[0])
        values = clones(model)
        CHANGES[name](model, opt)
        with pytest.raises(RuntimeError, match=f"{name}.*changed since the step was captured"):
            step(*BATCHES[1])
        assert same(clones(model), values)


def test_radii_that_a_solver_does_not_scale_with_are_fixed():
    with reads_switched_off():
        _, opt, problem = training(make=mlp, solver=solvers.MultiStep(2))
        step = captured(opt, problem)
        step(*BATCHES[0])
        opt.rho = 0.2
        with pytest.raises(RuntimeError, match="radius, which this solver"):
            step(*BATCHES[1])


def test_a_batch_of_another_shape_is_refused():
    with reads_switched_off():
        _, opt, problem = training(make=mlp)
        step = captured(opt, problem)
        step(*BATCHES[0])
        with pytest.raises(ValueError, match=r"shapes \[\(6, 4\), \(6,\)\], and this one has \[\(5, 4\), \(5,\)\].*drop_last"):
            step(BATCHES[1][0][:5], BATCHES[1][1][:5])
