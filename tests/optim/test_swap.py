"""The second buffer: the same steps as the copy, bit for bit, or a refusal."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import geosam
from geosam import SAM, Copy, Swap
from geosam.metrics import EmpiricalFisher, Euclidean, Fisher, GradientMagnitude, KLExact, ParameterScaled
from tests.networks import NETWORKS, Closure, build, clones, draw, labels, mlp, network, same

X, Y = draw(6, 4), labels(6)


def opt_of(model: nn.Module, move: geosam.Copy | geosam.Swap, metric: geosam.Metric | None = None) -> SAM:
    return SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), metric, rho=0.1, move=move)


@pytest.mark.parametrize("name", NETWORKS)
def test_training_is_that_with_a_copy(name):
    """Tied weights and an LSTM on the CPU included."""
    results = []
    for move in (Copy(), Swap()):
        model, x, y = network(name)
        opt, addresses = opt_of(model, move), [p.data_ptr() for p in model.parameters()]
        for _ in range(4):
            opt.step(Closure(model, x, y))
        assert [p.data_ptr() for p in model.parameters()] == addresses
        results.append(clones(model))
    assert same(*results)


@pytest.mark.parametrize(
    "metric", [Euclidean(), ParameterScaled(), GradientMagnitude(), EmpiricalFisher(0.1), Fisher(0.1), KLExact()], ids=repr
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_metric_moves_alike(metric, dtype):
    results = []
    for move in (Copy(), Swap()):
        model = build(mlp, dtype=dtype)
        opt = opt_of(model, move, metric)
        for _ in range(4):
            opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(X.to(dtype), Y))
        results.append(clones(model))
    assert same(*results)


def refused(model: nn.Module) -> None:
    opt, values = opt_of(model, Swap()), clones(model)
    with pytest.raises(ValueError, match=r"shares its storage.*move=geosam\.Copy\(\)"):
        opt.step(Closure(model, X, Y))
    assert same(clones(model), values)
    opt_of(model, Copy()).step(Closure(model, X, Y))
    assert not same(clones(model), values)


def test_a_parameter_that_is_a_view_of_a_flat_buffer_is_refused():
    model = build(mlp)
    flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    parts = flat.split([p.numel() for p in model.parameters()])
    for p, part in zip(model.parameters(), parts, strict=True):
        p.data = part.view(p.shape)
    refused(model)


def test_two_parameters_on_one_storage_are_refused():
    model = build(mlp)
    square = nn.Parameter(torch.eye(4) * 0.5)
    model[0] = nn.Linear(4, 4, bias=False)
    model.insert(1, nn.Linear(4, 4, bias=False))
    model[0].weight, model[1].weight = square, nn.Parameter(square.data.T)
    model[3] = nn.Linear(4, 3)
    values = clones(model)
    for move in (Swap(), Copy()):
        with pytest.raises(ValueError, match=r"shares its storage|entries in one place"):
            opt_of(model, move).step(Closure(model, X, Y))
    assert same(clones(model), values)


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("view", [False, True])
@pytest.mark.parametrize("move", [Copy, Swap])
@pytest.mark.usefixtures("one_process")
def test_under_distributed_data_parallel(move: Callable[[], geosam.Copy | geosam.Swap], view: bool):
    model, twin = build(mlp), build(mlp)
    parallel = DistributedDataParallel(model, gradient_as_bucket_view=view)
    opt, plain = opt_of(parallel, move()), opt_of(twin, Copy())
    addresses = [p.data_ptr() for p in model.parameters()]
    for _ in range(4):
        opt.step(Closure(parallel, X, Y))
        plain.step(Closure(twin, X, Y))
        assert same(clones(model), clones(twin))
    assert [p.data_ptr() for p in model.parameters()] == addresses


@pytest.mark.parametrize("metric", [Euclidean(), GradientMagnitude(), KLExact(along=Euclidean())], ids=repr)
@pytest.mark.usefixtures("one_process")
def test_a_bound_problem_under_distributed_data_parallel(metric: geosam.Metric):
    model, twin = build(mlp), build(mlp)
    parallel = DistributedDataParallel(model)
    opt, plain = opt_of(parallel, Copy(), metric), opt_of(twin, Copy(), metric)
    for _ in range(3):
        opt.step(geosam.Problem(parallel, nn.CrossEntropyLoss()).on(X, Y))
        plain.step(geosam.Problem(twin, nn.CrossEntropyLoss()).on(X, Y))
        assert same(clones(model), clones(twin))
