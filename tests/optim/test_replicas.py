"""DistributedDataParallel's options, and what closures do under it, in two processes: right, or refused with the cure."""

from contextlib import nullcontext

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.join import Join
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import geosam
from geosam import metrics
from tests.networks import build, mlp
from tests.optim.test_processes import X, Y, alone, optimizer, parameters, same_everywhere, share
from tests.ranks import together

READS_LENGTH = {"metric": metrics.GradientMagnitude(9.0, 0.1)}


class Branches(nn.Module):
    """Another branch in each process; one layer is used in none."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(4, 3) for _ in range(3))

    def forward(self, x):
        return self.parts[dist.get_rank()](x)


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x):
        return self.net[2](checkpoint(self.net[:2], x.clone().requires_grad_(), use_reentrant=True))


def closure_of(opt, ddp, factor=1.0, clip=None, noise=0.0):
    def closure():
        opt.zero_grad()
        loss = F.cross_entropy(F.dropout(ddp(share(X)), noise), share(Y))
        (factor * loss).backward()
        if clip is not None:
            clip(ddp.parameters())
        return loss

    return closure


def steps(opt, ddp, problem, route, count=3):
    for _ in range(count):
        if route == "step":
            opt.step(problem)
            continue
        opt.zero_grad()
        opt.perturb(problem)
        F.cross_entropy(ddp(share(X)), share(Y)).backward()
        opt.base.step()


def a_problem_by_any_wrapper(expected):
    def static(model):
        return DistributedDataParallel(model, static_graph=True)

    def compiled(model):
        return torch.compile(DistributedDataParallel(model), backend="eager")

    for wrap, bare, route in (
        (static, False, "step"),
        (static, False, "perturb"),
        (static, True, "perturb"),
        (compiled, False, "step"),
    ):
        model = build(mlp, dtype=torch.float64)
        ddp, opt = wrap(model), optimizer(model, {})
        steps(opt, ddp, geosam.Problem(model if bare else ddp, nn.CrossEntropyLoss()).on(share(X), share(Y)), route)
        same_everywhere(model)
        found = [p.numpy() for p in parameters(model)]
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-13, msg=f"{wrap.__name__}, {route}, {bare}")
    checkpointed = build(Checkpointed, dtype=torch.float64)
    problem = geosam.Problem(static(checkpointed), nn.CrossEntropyLoss()).on(share(X), share(Y))
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        optimizer(checkpointed, {}).step(problem)


def nobody_reduces_inside_no_sync():
    model = build(mlp, dtype=torch.float64)
    ddp, opt = DistributedDataParallel(model), optimizer(model, {})
    problem = geosam.Problem(ddp, nn.CrossEntropyLoss()).on(share(X), share(Y))
    before = [p.clone() for p in parameters(model)]
    closure = closure_of(opt, ddp)
    with ddp.no_sync():
        for act, source in ((opt.step, problem), (opt.step, closure), (opt.perturb, closure)):
            for opt.rho in (0.1, 0.0):
                with pytest.raises(NotImplementedError, match=r"inside no_sync\(\).*opt\.perturb\(problem"):
                    act(source)
    assert all(map(torch.equal, before, parameters(model)))
    opt.rho = 0.1
    ends = []
    for silent in (True, False):  # the problem averages its first pass by itself
        with ddp.no_sync() if silent else nullcontext():
            opt.perturb(problem)
            ends.append([p.clone() for p in parameters(model)])
            opt.restore()
    assert all(map(torch.equal, *ends))
    same_everywhere(model)


def processes_that_run_out_of_batches():
    """torch's Join answers the wrapper's reductions for them, and no others."""
    model = build(mlp, dtype=torch.float64)
    ddp, opt = DistributedDataParallel(model), optimizer(model, {})
    with Join([ddp]):
        with pytest.raises(NotImplementedError, match=r"inside Join.*opt\.step\(closure\)"):
            opt.step(geosam.Problem(ddp, nn.CrossEntropyLoss()).on(share(X), share(Y)))
        steps(opt, ddp, closure_of(opt, ddp), "step", 5 - 2 * dist.get_rank())
    same_everywhere(model)


def closures_are_looked_into():
    """By all processes together, also where one does not reach what another does: nobody waits."""

    def norm(parameters):
        nn.utils.clip_grad_norm_(parameters, 0.01)

    def value(parameters):
        nn.utils.clip_grad_value_(parameters, 0.01)

    for build_one, options in (
        (mlp, {}),
        (mlp, {"gradient_as_bucket_view": True}),
        (Branches, {"find_unused_parameters": True}),
    ):
        for how, error in (
            ({"clip": norm}, "clips gradients by norm"),
            ({"clip": value}, "clips gradients by value"),
            ({"factor": 2.0**16}, "times the loss that it returns"),
        ):
            model = build(build_one, dtype=torch.float64)
            ddp, opt = DistributedDataParallel(model, **options), optimizer(model, READS_LENGTH)
            with pytest.raises(RuntimeError, match=error):
                steps(opt, ddp, closure_of(opt, ddp, **how), "step")
            same_everywhere(model)
    model = build(mlp, dtype=torch.float64)
    ddp, opt = DistributedDataParallel(model), optimizer(model, {})
    steps(opt, ddp, closure_of(opt, ddp, clip=norm), "step")  # ε* has no length of the gradient's
    model = build(mlp, dtype=torch.float64)
    ddp, opt = DistributedDataParallel(model), optimizer(model, READS_LENGTH)
    calls = []
    model.register_forward_hook(lambda *_: calls.append(0))
    steps(opt, ddp, closure_of(opt, ddp, noise=0.5), "step", 9)
    assert len(calls) == 18


def everything(expected):
    a_problem_by_any_wrapper(expected)
    nobody_reduces_inside_no_sync()
    processes_that_run_out_of_batches()
    closures_are_looked_into()


def test_two_processes(tmp_path):
    together(tmp_path, 2, everything, alone({}))
