"""Sums, second passes, audits and what is not finite where processes divide parameters; what would be wrong is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F

import geosam
from geosam import metrics, norms, solvers
from geosam.core import vectors as vec
from tests.optim.sharded import X, Y, by_layers, closure, full, in_tensors, network, optimizer, share
from tests.ranks import together


def sums_are_those_of_the_whole(size: int) -> None:
    from torch.distributed.tensor import Partial, Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (size,))
    generator = torch.Generator().manual_seed(1)
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        plain = [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in ((5, 3), (1, 4), (2, 3), (), (7,))]
        places = [[Shard(0)], [Shard(0)], [Shard(1)], [Replicate()], None]
        v = [t if p is None else distribute_tensor(t, mesh, p) for t, p in zip(plain, places, strict=True)]
        w = [t * 2 + 1 for t in v]
        for f in (vec.norm, vec.sup, vec.absolute_sum):
            torch.testing.assert_close(f(v), f([t.double() for t in plain]), rtol=1e-12, atol=0)
        wide = [t.double() for t in plain]
        wanted = vec.dot(wide, [t.double() for t in full(w)])
        torch.testing.assert_close(vec.dot(v, w), wanted, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(vec.norms(v), [t.norm().to(dtype) for t in wide])
        broken = [t.clone() for t in v]
        if dist.get_rank() == 0:
            broken[0].to_local()[0, 0] = torch.nan
        assert bool(vec.finite(v)) and not bool(vec.finite(broken)) and not bool(vec.sup(broken) < torch.inf)
    part = torch.full((3, 2), 1.0 + dist.get_rank())
    from torch.distributed.tensor import DTensor

    summed = DTensor.from_local(part, mesh, [Partial()])
    assert float(vec.sup([summed])) == sum(1.0 + r for r in range(size))
    torch.testing.assert_close(full(vec.scale([summed], 2.0))[0], summed.full_tensor() * 2)
    with pytest.raises(TypeError, match="partial sum over a mesh cannot be written to"):
        vec.add_([summed], [torch.ones(3, 2)])
    with pytest.raises(TypeError, match=r"a plain tensor of shape .* meets a sharded one"):
        vec.add(v[:1], [torch.ones(5, 3)])
    with pytest.raises(TypeError, match=r"a sharded tensor of shape .* meets one that is placed otherwise"):
        vec.add([torch.ones(5, 3)], v[:1])


def the_second_pass_sees_where_it_is(size: int) -> None:
    """FSDP2 keeps what it gathered where no backward pass ends, or where it is told to."""
    plain = network()
    model = by_layers(network(), size)
    model.set_reshard_after_backward(False)
    for p in (plain, model):
        p.eval()
    own, opt = optimizer(plain, {}), optimizer(model, {})
    x, y = share(X), share(Y)
    with own.perturbed(closure(own, plain, X, Y)), opt.perturbed(closure(opt, model, x, y)), torch.no_grad():
        torch.testing.assert_close(model(x), plain(x), rtol=1e-11, atol=1e-13)
        there = plain(x)
    with torch.no_grad():
        torch.testing.assert_close(model(x), plain(x), rtol=1e-11, atol=1e-13)
        assert (plain(x) - there).abs().max() > 1e-3
    before = full(opt.param_groups[0]["params"])
    opt.perturb(geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y))  # right after a pass that gathered
    with torch.no_grad():
        torch.testing.assert_close(model(x), there, rtol=1e-11, atol=1e-13)
    opt.restore()
    assert all(map(torch.equal, before, full(opt.param_groups[0]["params"])))


def one_process_that_is_not_finite_stops_all(size: int) -> None:
    x, y = share(X).clone(), share(Y)
    model = by_layers(network(), size)
    opt = optimizer(model, {})
    opt.step(closure(opt, model, x, y))
    before = full(model.parameters())
    last = dist.get_rank() == size - 1

    calls = []

    def second_breaks() -> torch.Tensor:
        calls.append(0)
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        (loss * (torch.nan if last and len(calls) == 2 else 1.0)).backward()
        return loss

    opt.step(second_breaks)
    assert bool(opt.last.skipped) and all(map(torch.equal, before, full(model.parameters())))

    def number_breaks() -> torch.Tensor:
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss * (torch.nan if last else 1.0)

    with opt.perturbed(number_breaks) as p:
        assert not bool(p.last.finite) and float(vec.norm(p.epsilon)) == 0
    opt.perturb(geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y))
    (F.cross_entropy(model(x), y) * (torch.nan if last else 1.0)).backward()
    opt.base.step()
    assert bool(opt.last.skipped) and all(map(torch.equal, before, full(model.parameters())))


def clipping_takes_the_second_gradient(size: int) -> None:
    expected, model = network(), by_layers(network(), size)
    own, opt = optimizer(expected, {}), optimizer(model, {})
    for o, m, x, y in ((own, expected, X, Y), (opt, model, share(X), share(Y))):
        o.perturb(geosam.Problem(m, nn.CrossEntropyLoss()).on(x, y))
        F.cross_entropy(m(x), y).backward()
        nn.utils.clip_grad_norm_(m.parameters(), 0.1)
        o.base.step()
    torch.testing.assert_close(full(model.parameters()), full(expected.parameters()), rtol=1e-11, atol=1e-13)


def what_would_be_wrong_is_refused(size: int, divide: Any = by_layers) -> None:
    x, y = share(X), share(Y)
    model = divide(network(), size)
    problem = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
    before = full(model.parameters())
    for metric in (metrics.EmpiricalFisher(), metrics.Fisher(), metrics.KLExact(), metrics.KroneckerFisher()):
        with pytest.raises(NotImplementedError, match=rf"{type(metric).__name__}.*sharded over processes.*use a metric of the"):
            optimizer(model, {"metric": metric}).step(problem)
    with pytest.raises(NotImplementedError, match=r"ExactRise.*sharded over processes"):
        optimizer(model, {"solver": solvers.ExactRise(0.1)}).step(problem)
    with pytest.raises(NotImplementedError, match=r"Spectral needs whole matrices.*ParameterScaled"):
        optimizer(model, {"metric": norms.Spectral()}).step(problem)
    with pytest.raises(NotImplementedError, match=r"ball='rank' is one ε a process.*ball='global'"):
        optimizer(model, {}, ball="rank").step(problem)
    with pytest.raises(NotImplementedError, match="sharded over processes"):
        geosam.compare(problem, metrics=[metrics.Euclidean()], rho=0.1)
    assert all(map(torch.equal, before, full(model.parameters())))
    if divide is by_layers:
        some = network()
        fully_shard(some[0], mesh=init_device_mesh("cpu", (size,)))
        partly = geosam.Problem(some, nn.CrossEntropyLoss()).on(x, y)
        for act in (optimizer(some, {}).step, optimizer(some, {}).perturb):
            with pytest.raises(NotImplementedError, match="parameter 2 is not sharded and others are"):
                act(partly)
        model.set_requires_gradient_sync(False)
        with pytest.raises(NotImplementedError, match=r"set_requires_gradient_sync\(False\).*opt\.step\(\["):
            optimizer(model, {}).perturb(problem)
        model = divide(network(), size)
        problem = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
        with pytest.raises(NotImplementedError, match=r"until='backward' is not known.*until='step'"):
            optimizer(model, {}).perturb(problem, until="backward")
        assert all(map(torch.equal, before, full(model.parameters())))


def closures_are_looked_into(size: int) -> None:
    """In step 16, by the mean of the losses; gradients are compared as FSDP2 left them, before they were clipped."""
    x, y = share(X), share(Y)
    for parts, clip, factor, error in (
        ({"metric": metrics.GradientMagnitude(9.0, 0.1)}, 0.01, 1.0, "clips gradients by norm"),
        ({"metric": metrics.GradientMagnitude(9.0, 0.1)}, None, 2.0**16, "times the loss that it returns"),
        ({}, 0.01, 1.0, None),
        ({}, None, 1.0, None),
    ):
        model, calls = by_layers(network(), size), []
        opt = optimizer(model, parts, lr=0.1 / factor)

        def audited(model=model, opt=opt, calls=calls, clip=clip, factor=factor):
            calls.append(0)
            opt.zero_grad()
            loss = F.cross_entropy(model(x), y)
            (factor * loss).backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            return loss

        for _ in range(15):
            opt.step(audited)
        if error is None:
            opt.step(audited)
            assert len(calls) == 32 + (clip is not None)
            continue
        before = full(model.parameters())
        with pytest.raises(RuntimeError, match=error):
            opt.step(audited)
        assert all(map(torch.equal, before, full(model.parameters())))


def everything(size: int, ways: list[Any]) -> None:
    sums_are_those_of_the_whole(size)
    the_second_pass_sees_where_it_is(size)
    one_process_that_is_not_finite_stops_all(size)
    clipping_takes_the_second_gradient(size)
    closures_are_looked_into(size)
    for divide in ways:
        what_would_be_wrong_is_refused(size, divide)


def test_two_processes(tmp_path):
    together(tmp_path, 2, everything, 2, [by_layers])


@pytest.mark.slow
def test_four_processes(tmp_path):
    together(tmp_path, 4, everything, 4, [by_layers, in_tensors])
