"""Parameters that processes divide among them: a step is that of one process on the big batch, or refused by name."""

from __future__ import annotations

import copy
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn import functional as F

import geosam
from geosam import metrics, norms, objectives, passes, solvers, updates
from geosam.core import vectors as vec
from geosam.metrics.parameter_scaled import matrices
from tests.networks import draw, labels
from tests.ranks import together

STEPS = 2
X, Y = draw(12, 4, dtype=torch.float64), labels(12)

GRADIENT = {
    "Euclidean": {"metric": metrics.Euclidean()},
    "ParameterScaled": {"metric": metrics.ParameterScaled()},
    "GradientMagnitude": {"metric": metrics.GradientMagnitude()},
    "Monge": {"metric": metrics.Monge()},
    "LayerWise": {"metric": metrics.LayerWise()},
    "FilterWise": {"metric": metrics.FilterWise(filters=matrices)},
    "Sup": {"metric": norms.Sup()},
    "Blockwise": {"metric": metrics.Blockwise({"*.bias": (metrics.Euclidean(), 0.5), "*": (metrics.ParameterScaled(), 1.0)})},
    "Averaged": {"metric": metrics.Averaged(metrics.GradientMagnitude(), 0.5), "objective": objectives.Smoothed(0.8)},
    "Residual": {"objective": objectives.Residual()},
    "NoiseWeighted": {"objective": objectives.NoiseWeighted()},
    "Preconditioned": {"objective": objectives.Preconditioned(metrics.GradientMagnitude())},
    "MultiStep": {"solver": solvers.MultiStep(2)},
    "LinearRise": {"solver": solvers.LinearRise(0.05)},
    "SurrogateGap": {"update": updates.SurrogateGap(0.3)},
    "Natural": {"update": updates.Natural(metrics.GradientMagnitude())},
    "Momentum": {"passes": passes.Momentum()},
    "Every": {"passes": passes.Every(2, again=True)},
}


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    """Nothing of it is divisible by 2: uneven parts, and one without entries."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).to(dtype)


def optimizer(model: nn.Module, parts: dict[str, Any], **options: Any) -> geosam.SAM:
    return geosam.SAM(torch.optim.SGD(model.named_parameters(), lr=0.1, momentum=0.9), **{"rho": 0.1, **parts, **options})


def by_layers(model: nn.Module, size: int) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (size,))
    fully_shard(model[0], mesh=mesh)
    return fully_shard(model, mesh=mesh)


def in_tensors(model: nn.Module, size: int) -> nn.Module:
    """Columns, rows, and a layer that stays plain."""
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    plan = {"0": ColwiseParallel(use_local_output=False), "2": RowwiseParallel()}
    return parallelize_module(model, init_device_mesh("cpu", (size,)), plan)


def hybrid(model: nn.Module, size: int) -> nn.Module:
    """Divided by two, replicated by the rest."""
    from torch.distributed.fsdp import fully_shard

    return fully_shard(model, mesh=init_device_mesh("cpu", (size // 2, 2), mesh_dim_names=("copies", "parts")))


def on_two_dimensions(model: nn.Module, size: int) -> nn.Module:
    """In tensors by two, and these divided again."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    mesh = init_device_mesh("cpu", (size // 2, 2), mesh_dim_names=("data", "tensor"))
    parallelize_module(model, mesh["tensor"], {"0": ColwiseParallel(use_local_output=False), "2": RowwiseParallel()})
    fully_shard(model[0], mesh=mesh["data"])
    return fully_shard(model, mesh=mesh["data"])


def closure(opt: geosam.SAM, model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], torch.Tensor]:
    def run() -> torch.Tensor:
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    return run


def full(v: Any) -> list[torch.Tensor]:
    """Gathered by all processes together."""
    return [t.detach().full_tensor() if hasattr(t, "full_tensor") else t.detach().clone() for t in v]


def gap(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> float:
    """‖found − wanted‖ / ‖wanted‖."""
    a, b = (torch.cat([t.flatten().double() for t in v]) for v in (found, wanted))
    return float((a - b).norm() / b.norm())


def trained(parts: dict[str, Any], dtype: torch.dtype) -> tuple[Any, ...]:
    """(weights, ε*, dual norm) of one process on the big batch."""
    model = network(dtype)
    opt = optimizer(model, parts)
    for _ in range(STEPS):
        opt.step(closure(opt, model, X.to(dtype), Y))
    weights = full(model.parameters())
    with opt.perturbed(closure(opt, model, X.to(dtype), Y)) as p:
        return weights, full(p.epsilon), p.last.dual_norm


def share(x: torch.Tensor, divide: Any = by_layers) -> torch.Tensor:
    """This process's samples; those of one tensor-parallel group have the same."""
    together = {in_tensors: dist.get_world_size(), on_two_dimensions: 2}.get(divide, 1)
    return x.chunk(dist.get_world_size() // together)[dist.get_rank() // together]


def follows(expected: dict[Any, Any], row: Row, size: int) -> None:
    name, dtype, route, divide = row
    model = divide(network(dtype), size)
    x, y = share(X.to(dtype), divide), share(Y, divide)
    opt = optimizer(model, GRADIENT[name])
    problem = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
    for _ in range(STEPS):
        if route == "perturb":
            opt.zero_grad()
            opt.perturb(problem)
            F.cross_entropy(model(x), y).backward()
            opt.base.step()
        else:
            opt.step(problem if route == "problem" else closure(opt, model, x, y))
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    weights, epsilon, dual = expected[name, dtype]
    said = f"{name}, {route}, {divide.__name__}, {dtype}"
    assert (apart := gap(full(model.parameters()), weights)) < tolerance, (said, apart)
    with opt.perturbed(problem if route == "problem" else closure(opt, model, x, y)) as p:
        held = opt.param_groups[0]["params"]
        assert [getattr(e, "placements", None) for e in p.epsilon] == [getattr(q, "placements", None) for q in held]
        assert (apart := gap(full(p.epsilon), epsilon)) < tolerance, (said, apart)
        torch.testing.assert_close(p.last.dual_norm, dual, rtol=1e-5, atol=0, equal_nan=True)


Row = tuple[str, torch.dtype, str, Callable[..., nn.Module]]

QUICK: list[Row] = [
    ("Euclidean", torch.float64, "perturb", by_layers),
    ("Euclidean", torch.float64, "problem", in_tensors),
    ("FilterWise", torch.float64, "closure", in_tensors),
    ("Averaged", torch.float64, "closure", by_layers),
    ("Sup", torch.float32, "closure", by_layers),
]
KINDS = [(name, torch.float64) for name in GRADIENT] + [(name, torch.float32) for name in ("Euclidean", "Sup", "LayerWise")]


def every_row(size: int) -> list[Row]:
    ways = (by_layers, in_tensors) if size < 4 else (by_layers, in_tensors, hybrid, on_two_dimensions)
    rows: list[Row] = [(name, dtype, "closure", divide) for name, dtype in KINDS for divide in ways]
    return rows + [("Euclidean", torch.float64, route, divide) for route in ("problem", "perturb") for divide in ways]


def write_big_batches(folder: Path, rows: list[Row]) -> None:
    torch.save(
        {kind: trained(GRADIENT[kind[0]], kind[1]) for kind in {(row[0], row[1]) for row in rows}}, folder / "expected.pt"
    )


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
        with pytest.raises(NotImplementedError, match=r"until='backward' is not known.*until='step'"):
            optimizer(model, {}).perturb(problem, until="backward")
        assert all(map(torch.equal, before, full(model.parameters())))


def remembering(model: nn.Module) -> geosam.SAM:
    base = torch.optim.AdamW(model.named_parameters(), lr=0.05)
    return geosam.SAM(base, metrics.Averaged(metrics.GradientMagnitude(), 0.5), 0.1, objectives.Smoothed(0.8))


def goes_on(model: nn.Module, opt: geosam.SAM, x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    for _ in range(2):
        opt.step(closure(opt, model, x, y))
    opt.zero_grad()
    return full(model.parameters())


def resumed(model: nn.Module, folder: Path) -> geosam.SAM:
    """From the checkpoint, by torch's own functions."""
    from torch.distributed import checkpoint as dcp
    from torch.distributed.checkpoint import state_dict as dsd

    opt = remembering(model)
    found = {"model": dsd.get_model_state_dict(model), "opt": dsd.get_optimizer_state_dict(model, opt)}
    with warnings.catch_warnings():  # in one process torch says that it is one
        warnings.simplefilter("ignore")
        dcp.load(found, checkpoint_id=folder)
    dsd.set_model_state_dict(model, found["model"])
    dsd.set_optimizer_state_dict(model, opt, found["opt"])
    return opt


def a_checkpoint_goes_on(folder: Path, size: int) -> None:
    from torch.distributed import checkpoint as dcp
    from torch.distributed.checkpoint import state_dict as dsd

    x, y = share(X), share(Y)
    model = by_layers(network(), size)
    opt = remembering(model)
    goes_on(model, opt, x, y)
    whole = {"full_state_dict": True}
    saved = {"model": dsd.get_model_state_dict(model), "opt": dsd.get_optimizer_state_dict(model, opt)}
    dcp.save(saved, checkpoint_id=folder / "saved")
    gathered = copy.deepcopy(dsd.get_optimizer_state_dict(model, opt, options=dsd.StateDictOptions(**whole)))
    weights = dsd.get_model_state_dict(model, options=dsd.StateDictOptions(**whole))
    end = goes_on(model, opt, x, y)
    other = by_layers(network(), size)
    again = resumed(other, folder / "saved")
    assert again.steps == 2 and all(map(torch.equal, end, goes_on(other, again, x, y)))
    third = by_layers(network(), size)
    last = remembering(third)
    dsd.set_model_state_dict(third, weights, options=dsd.StateDictOptions(**whole))
    dsd.set_optimizer_state_dict(third, last, gathered, options=dsd.StateDictOptions(**whole))
    assert all(map(torch.equal, end, goes_on(third, last, x, y)))
    if dist.get_rank() == 0:
        torch.save(end, folder / "end.pt")


def goes_on_alone(folder: Path) -> None:
    """In one process, on the big batch."""
    model = network()
    opt = resumed(model, folder / "saved")
    torch.testing.assert_close(goes_on(model, opt, X, Y), torch.load(folder / "end.pt"), rtol=1e-11, atol=1e-13)


def everything(folder: Path, size: int, slow: bool) -> None:
    expected = torch.load(folder / "expected.pt")
    sums_are_those_of_the_whole(size)
    for row in every_row(size) if slow else QUICK:
        follows(expected, row, size)
    the_second_pass_sees_where_it_is(size)
    one_process_that_is_not_finite_stops_all(size)
    clipping_takes_the_second_gradient(size)
    a_checkpoint_goes_on(folder, size)
    for divide in (by_layers, in_tensors) if slow else (by_layers,):
        what_would_be_wrong_is_refused(size, divide)


@pytest.mark.parametrize(
    ("size", "slow"), [(2, False), pytest.param(2, True, marks=pytest.mark.slow), pytest.param(4, True, marks=pytest.mark.slow)]
)
def test_so_many_processes(tmp_path, size, slow):
    write_big_batches(tmp_path, every_row(size) if slow else QUICK)
    together(tmp_path, size, everything, tmp_path, size, slow)
    goes_on_alone(tmp_path)


@pytest.mark.slow
def test_the_example_trains_and_resumes_on_another_number_of_processes(tmp_path):
    root = Path(__file__).parents[2]
    said = []
    for size in (2, 1):
        with socket.socket() as free:  # --standalone looks the machine's name up, which not every machine has
            free.bind(("127.0.0.1", 0))
            place = ["--master-addr=127.0.0.1", f"--master-port={free.getsockname()[1]}"]
        command = [sys.executable, "-m", "torch.distributed.run", *place, f"--nproc-per-node={size}"]
        command += [str(root / "docs/distributed/torchrun_fsdp2.py"), str(tmp_path / "saved")]
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        said.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300).stdout)
    losses = [[float(line.split()[3].rstrip(",")) for line in text.splitlines() if line.startswith("step")] for text in said]
    assert "step 20:" in said[1] and losses[0][0] > losses[0][-1] > losses[1][-1]
