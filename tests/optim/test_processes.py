"""Two processes under gloo: one ball for both equals one big batch, one ball a process is m-sharpness, the rest is refused."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import geosam
from geosam import metrics, objectives, solvers, updates
from tests.networks import batch_norm_net, build, draw, labels, mlp
from tests.ranks import together

X, Y = draw(12, 4, dtype=torch.float64), labels(12)
GLOBAL = {
    "Euclidean": {"metric": metrics.Euclidean()},
    "ParameterScaled": {"metric": metrics.ParameterScaled()},
    "GradientMagnitude": {"metric": metrics.GradientMagnitude()},
    "DiagonalEmpiricalFisher": {"metric": metrics.DiagonalEmpiricalFisher()},
    "KL along GradientMagnitude": {"metric": metrics.KLExact(along=metrics.GradientMagnitude())},
    "Averaged, Smoothed": {
        "metric": metrics.Averaged(metrics.DiagonalEmpiricalFisher(), 0.9),
        "objective": objectives.Smoothed(0.9),
    },
    "MultiStep": {"solver": solvers.MultiStep(2)},
    "SurrogateGap": {"update": updates.SurrogateGap(0.3)},
    "Natural": {"metric": metrics.GradientMagnitude(1.0, 0.1), "update": updates.Natural(metrics.DiagonalEmpiricalFisher())},
}
ROWS = [metrics.EmpiricalFisher(), metrics.Fisher(), metrics.KroneckerFisher(), metrics.KLExact(), metrics.DiagonalFisher()]


def parameters(model):
    return [p.detach() for p in model.parameters()]


def optimizer(model, parts, **options):
    return geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.1, **parts, **options)


def share(x):
    rank, size = dist.get_rank(), dist.get_world_size()
    return x.chunk(size)[rank]


def alone(parts, steps=3):
    """The same training in one process on the big batch."""
    model = build(mlp, dtype=torch.float64)
    opt = optimizer(model, parts)
    for _ in range(steps):
        opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y))
    return [p.numpy() for p in parameters(model)]


def wrapped():
    model = build(mlp, dtype=torch.float64)
    return model, DistributedDataParallel(model)


def same_everywhere(model):
    flat = torch.cat([p.flatten() for p in parameters(model)])
    each = [torch.empty_like(flat) for _ in range(dist.get_world_size())]
    dist.all_gather(each, flat)
    assert all(torch.equal(each[0], other) for other in each)


def one_ball_is_that_of_the_big_batch(name, expected):
    for route in ("step", "list", "perturb"):
        model, ddp = wrapped()
        opt, problem = optimizer(model, GLOBAL[name]), geosam.Problem(ddp, nn.CrossEntropyLoss())
        x, y = share(X), share(Y)
        for _ in range(3):
            if route == "perturb":
                opt.zero_grad()
                opt.perturb(problem.on(x, y))
                F.cross_entropy(ddp(x), y).backward()
                opt.base.step()
            else:
                opt.step(problem.on(x, y) if route == "step" else [problem.on(x[:2], y[:2]), problem.on(x[2:], y[2:])])
        same_everywhere(model)
        found = [p.numpy() for p in parameters(model)]
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-13, msg=f"{name}, {route}")


def one_ball_a_process_is_m_sharpness(metric):
    x, y = share(X), share(Y)
    for bare in (True, False):
        model, ddp = wrapped()
        opt, by_hand = optimizer(model, {"metric": metric}, ball="rank"), build(mlp, dtype=torch.float64)
        problem = geosam.Problem(model if bare else ddp, nn.CrossEntropyLoss())
        own = geosam.SAM(torch.optim.SGD(by_hand.parameters(), lr=0.1), metric, rho=0.1, ball="rank")
        with own.perturbed(geosam.Problem(by_hand, nn.CrossEntropyLoss()).on(x, y)):
            F.cross_entropy(by_hand(x), y).backward()
        for p in by_hand.parameters():
            dist.all_reduce(p.grad)
        opt.perturb(problem.on(x, y))
        F.cross_entropy(ddp(x), y).backward()
        for p, q in zip(model.parameters(), by_hand.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad / dist.get_world_size(), rtol=1e-9, atol=1e-13)
        opt.base.step()
        same_everywhere(model)
        if not bare:
            opt.step(problem.on(x, y))
            same_everywhere(model)


def what_would_be_wrong_is_refused():
    model, ddp = wrapped()
    before = [p.clone() for p in parameters(model)]
    bare, through = (geosam.Problem(m, nn.CrossEntropyLoss()).on(share(X), share(Y)) for m in (model, ddp))
    with pytest.raises(NotImplementedError, match="nobody would reduce"):
        optimizer(model, {}).step(bare)
    for metric in ROWS:
        with pytest.raises(NotImplementedError, match=r"across 2 processes.*ball='rank'"):
            optimizer(model, {"metric": metric}).step(through)
    with pytest.raises(NotImplementedError, match=r"ExactRise.*ball='rank'"):
        optimizer(model, {"solver": solvers.ExactRise(0.1)}).step(through)
    with pytest.raises(NotImplementedError, match=r"ball='rank' takes problem.on"):
        optimizer(model, {}, ball="rank").step(lambda: None)
    assert all(map(torch.equal, before, parameters(model)))
    for update in (updates.SurrogateGap(0.3), updates.Natural(metrics.EmpiricalFisher())):
        own = optimizer(model, {"update": update}, ball="rank")
        for own.rho in (0.1, 0.0):
            own.step(through)
            same_everywhere(model)


def statistics_agree():
    """Those of rank 0's first passes, as of a closure under the wrapper; by default the second pass counts in none."""
    ends = []
    for route in ("problem", "closure"):
        ddp = DistributedDataParallel(build(batch_norm_net, dtype=torch.float64))
        opt, problem = optimizer(ddp, {}), geosam.Problem(ddp, nn.CrossEntropyLoss())

        def closure(ddp=ddp):
            ddp.zero_grad()
            loss = F.cross_entropy(ddp(share(X)), share(Y))
            loss.backward()
            return loss

        for _ in range(2):
            opt.step(problem.on(share(X), share(Y)) if route == "problem" else closure)
        assert ddp.module[1].num_batches_tracked == 2
        ends.append(torch.cat([ddp.module[1].running_mean, ddp.module[1].running_var]))
    torch.testing.assert_close(ends[0], ends[1])


def through(opt, ddp, change=lambda loss: loss):
    """A closure that returns another number than it differentiates."""

    def closure():
        opt.zero_grad()
        loss = F.cross_entropy(ddp(share(X)), share(Y))
        loss.backward()
        return change(loss.detach())

    return closure


def a_loss_that_is_odd_in_one_process_decides_nothing_there():
    """One that is infinite beside a gradient of all that is finite; one that stands still, as that of a scaled loss would."""
    for number in (torch.inf, 1.0):
        model, ddp = wrapped()
        opt = optimizer(model, {})
        closure = through(opt, ddp, lambda loss, number=number: loss if dist.get_rank() else torch.tensor(number))
        for _ in range(3):
            opt.step(closure)
            assert bool(opt.last.finite) and not bool(opt.last.skipped)
        same_everywhere(model)
        opt.zero_grad()
        opt.perturb(closure)
        same_everywhere(model)
        opt.restore()


def a_search_decides_in_all_as_on_the_big_batch():
    """By the mean of the losses; each process's own would end in other weights, or wait for passes that others do not make."""
    ends = []
    for route in ("alone", "closure", "problem"):
        model, ddp = wrapped()
        base = torch.optim.LBFGS(model.parameters(), lr=5.0, max_iter=3, line_search_fn="strong_wolfe")
        opt = geosam.SAM(base, rho=0.1)

        def on_all(opt=opt, model=model):
            opt.zero_grad()
            loss = F.cross_entropy(model(X), Y)
            loss.backward()
            return loss

        problem = geosam.Problem(ddp, nn.CrossEntropyLoss()).on(share(X), share(Y))
        for _ in range(3):
            opt.step({"alone": on_all, "closure": through(opt, ddp), "problem": problem}[route])
        same_everywhere(model)
        ends.append(parameters(model))
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-9, atol=1e-12)


def a_pass_that_is_not_finite_in_one_process_is_so_in_all():
    for ball, route in (("global", "closure"), ("global", "problem"), ("rank", "problem")):
        for at in (1, 2):
            model, ddp = wrapped()
            opt, calls = optimizer(model, {}, ball=ball, raise_nonfinite=True), []

            def spoil(module, inputs, outputs, calls=calls, at=at):
                calls.append(outputs)
                return outputs * (torch.inf if dist.get_rank() == 0 and len(calls) == at else 1.0)

            model.register_forward_hook(spoil)
            before = [p.clone() for p in parameters(model)]
            problem = geosam.Problem(ddp, nn.CrossEntropyLoss()).on(share(X), share(Y))
            with pytest.raises(FloatingPointError, match="first pass" if at == 1 else "second pass"):
                opt.step(problem if route == "problem" else through(opt, ddp))
            assert all(map(torch.equal, before, parameters(model))), (ball, route, at)


def every_row(expected):
    for name, end in expected.items():
        one_ball_is_that_of_the_big_batch(name, end)
    for metric in (metrics.Euclidean(), metrics.EmpiricalFisher(), metrics.KLExact(), metrics.KroneckerFisher()):
        one_ball_a_process_is_m_sharpness(metric)
    what_would_be_wrong_is_refused()
    statistics_agree()
    a_loss_that_is_odd_in_one_process_decides_nothing_there()
    a_pass_that_is_not_finite_in_one_process_is_so_in_all()
    a_search_decides_in_all_as_on_the_big_batch()


def test_two_processes(tmp_path):
    together(tmp_path, 2, every_row, {name: alone(parts) for name, parts in GLOBAL.items()})


def test_the_ball_is_named():
    model = build(mlp)
    assert "ball: rank" in repr(optimizer(model, {}, ball="rank")) and "ball: global" in repr(optimizer(model, {}))
    with pytest.raises(ValueError, match="ball is one of global, rank"):
        optimizer(model, {}, ball="batch")
