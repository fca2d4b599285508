"""What a step would get wrong is refused by name, before anything is computed."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

from geosam import SAM
from geosam.optim import suitable
from tests.networks import Closure, build, clones, draw, labels, mlp, same

X, Y = draw(6, 4), labels(6)


def test_complex_parameters_are_refused_at_construction_and_when_they_join():
    w = nn.Parameter(torch.randn(4, dtype=torch.complex64))
    with pytest.raises(NotImplementedError, match=r"parameter 0 \(w\) is complex.*view_as_real"):
        SAM(torch.optim.SGD([("w", w)], lr=0.1))
    model = build(mlp)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    opt.step(Closure(model, X, Y))
    opt.add_param_group({"params": [w]})
    before = clones(model)
    for _ in range(2):
        with pytest.raises(NotImplementedError, match="parameter 4 is complex"):
            opt.step(Closure(model, X, Y))
    assert same(clones(model), before)


def test_lazy_parameters_may_be_initialised_up_to_the_first_step():
    model = nn.Sequential(nn.LazyLinear(5), nn.Tanh(), nn.Linear(5, 3))
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(NotImplementedError, match="run the model once on a batch"):
        opt.step(Closure(model, X, Y))
    model(X)
    assert opt.step(Closure(model, X, Y)) is not None


@pytest.fixture
def group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_partial_sums_are_refused(group):
    for kind in (Replicate(), Shard(0)):
        suitable.check_parameters([nn.Parameter(distribute_tensor(torch.ones(4), group, [kind]))])
    with pytest.raises(NotImplementedError, match=r"parameter 0 is a partial sum over a mesh.*redistribute"):
        suitable.check_parameters([DTensor.from_local(torch.ones(4), group, [Partial()])])


def test_flat_parameters_are_refused_in_several_processes(monkeypatch):
    model = build(mlp)
    model[0].weight._fsdp_flattened = True
    SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    monkeypatch.setattr(suitable, "processes", lambda: 2)
    with pytest.raises(NotImplementedError, match=r"parameter 0 .*flat and sharded.*fully_shard"):
        SAM(torch.optim.SGD(model.parameters(), lr=0.1))
