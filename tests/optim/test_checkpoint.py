"""A run that is saved and resumed goes on as if nothing had happened, bit for bit."""

import copy
import io
from typing import Any

import pytest
import torch
from torch import nn

import geosam
from geosam import SAM
from geosam.metrics import Blockwise, EmpiricalFisher, Euclidean, ParameterScaled
from geosam.objectives import Smoothed
from tests.networks import Closure, build, clones, draw, labels, mlp, same

BASES = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "no state": lambda p: torch.optim.SGD(p, lr=0.1),
}
METRICS = [Euclidean(), EmpiricalFisher(0.1), Blockwise({"*.weight": (ParameterScaled(), 1.0), "*": (Euclidean(), 0.5)})]


def start(base: str, metric: geosam.Metric, seed: int = 0, rho: float = 0.1) -> tuple[nn.Module, SAM]:
    model = build(mlp, seed)
    return model, SAM(BASES[base](model.named_parameters()), metric, rho=rho, objective=Smoothed(0.8))


def train(model: nn.Module, opt: SAM, steps: range) -> None:
    for k in steps:
        opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4, seed=k), labels(6, seed=k)))


def through_file(state: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("base", BASES)
def test_train_save_load_train_equals_train(base, metric):
    model, opt = start(base, metric)
    train(model, opt, range(5))
    saved = through_file({"model": model.state_dict(), "opt": opt.state_dict()})
    train(model, opt, range(5, 10))

    resumed, other = start(base, metric, seed=1, rho=0.7)
    train(resumed, other, range(20, 23))
    resumed.load_state_dict(saved["model"])
    other.load_state_dict(saved["opt"])
    assert [g["rho"] for g in other.param_groups] == [0.1]
    train(resumed, other, range(5, 10))
    assert same(clones(model), clones(resumed))


def test_without_the_objectives_memory_the_run_would_differ():
    model, opt = start("SGD", Euclidean())
    train(model, opt, range(5))
    saved = through_file({"model": model.state_dict(), "opt": opt.state_dict()})
    train(model, opt, range(5, 10))
    resumed, other = start("SGD", Euclidean())
    resumed.load_state_dict(saved["model"])
    other.load_state_dict({**saved["opt"], "geosam": {}})
    train(resumed, other, range(5, 10))
    assert not same(clones(model), clones(resumed))


def test_a_checkpoint_does_not_change_when_training_goes_on():
    model, opt = start("SGD", Euclidean())
    train(model, opt, range(3))
    state = opt.state_dict()
    memory = copy.deepcopy(state["geosam"])
    train(model, opt, range(3, 6))
    assert same(state["geosam"]["objective"]["average"], memory["objective"]["average"])


def test_loading_does_not_share_the_objectives_memory_with_the_checkpoint():
    model, opt = start("no state", Euclidean())
    train(model, opt, range(3))
    state = through_file(opt.state_dict())
    one, two = start("no state", Euclidean(), seed=3), start("no state", Euclidean(), seed=3)
    for m, o in (one, two):
        m.load_state_dict(model.state_dict())
        o.load_state_dict(state)
        train(m, o, range(5, 8))
    assert same(clones(one[0]), clones(two[0]))


def test_a_checkpoint_of_the_plain_base_optimizer_is_accepted():
    twin = build(mlp)
    plain = BASES["SGD"](twin.parameters())
    for _ in range(3):
        plain.step(Closure(twin, draw(6, 4), labels(6)))
    model, opt = start("SGD", Euclidean())
    train(model, opt, range(2))
    opt.load_state_dict(through_file(plain.state_dict()))
    assert [g["rho"] for g in opt.param_groups] == [0.1]
    assert opt.state_dict()["geosam"]["objective"] == {}
    buffers = [opt.state[p]["momentum_buffer"] for p in model.parameters()]
    assert same(buffers, [plain.state[p]["momentum_buffer"] for p in twin.parameters()])
    train(model, opt, range(2))
    assert opt.last.radius.item() == pytest.approx(0.1)


def test_groups_and_state_stay_the_bases_own_after_loading():
    model, opt = start("SGD", Euclidean())
    train(model, opt, range(2))
    opt.load_state_dict(opt.state_dict())
    assert opt.param_groups is opt.base.param_groups and opt.state is opt.base.state
    opt.param_groups[0]["lr"] = 0.0
    values = clones(model)
    train(model, opt, range(2))
    assert same(clones(model), values)


def test_radii_per_group_are_saved():
    model = build(mlp)
    groups = [{"params": model[0].parameters(), "rho": 0.3}, {"params": model[2].parameters(), "rho": 0.0}]
    opt = SAM(torch.optim.SGD(groups, lr=0.1))
    state = through_file(opt.state_dict())
    twin = build(mlp)
    other = SAM(torch.optim.SGD([{"params": twin[0].parameters()}, {"params": twin[2].parameters()}], lr=0.1), rho=1.0)
    other.load_state_dict(state)
    assert [g["rho"] for g in other.param_groups] == [0.3, 0.0]


def test_a_checkpoint_of_another_shape_is_refused_before_anything_changes():
    model, opt = start("SGD", Euclidean())
    train(model, opt, range(2))
    before = copy.deepcopy(opt.state_dict())
    other = SAM(torch.optim.SGD([{"params": [p]} for p in build(mlp).parameters()], lr=0.1))
    with pytest.raises(ValueError, match="group"):
        opt.load_state_dict(other.state_dict())
    after = opt.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert same(after["geosam"]["objective"]["average"], before["geosam"]["objective"]["average"])


def test_a_deep_copy_goes_on_by_itself():
    model, opt = start("SGD", Euclidean())
    train(model, opt, range(2))
    twin, other = copy.deepcopy((model, opt))
    train(model, opt, range(2, 4))
    train(twin, other, range(2, 4))
    assert same(clones(model), clones(twin))


def test_drawn_labels_go_on_where_they_were():
    def start_drawing() -> tuple[nn.Module, SAM]:
        sampling = geosam.metrics.MonteCarlo(1, torch.Generator().manual_seed(5))
        model = build(mlp)
        metric = Blockwise({"0.*": (geosam.metrics.Fisher(0.1, sampling), 1.0), "*": (Euclidean(), 1.0)})
        return model, SAM(torch.optim.SGD(model.named_parameters(), lr=0.1), metric, rho=0.3)

    model, opt = start_drawing()
    train(model, opt, range(2))
    saved = through_file({"model": model.state_dict(), "opt": opt.state_dict()})
    train(model, opt, range(2, 4))
    resumed, other = start_drawing()
    resumed.load_state_dict(saved["model"])
    other.load_state_dict(saved["opt"])
    train(resumed, other, range(2, 4))
    assert same(clones(model), clones(resumed))


def test_distributed_checkpoints_take_the_base_and_the_memory_apart():
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    def parts() -> tuple[nn.Module, SAM]:
        model = build(mlp)
        return model, SAM(torch.optim.AdamW(model.named_parameters(), lr=0.1), rho=0.3, objective=Smoothed(0.8))

    model, opt = parts()
    train(model, opt, range(3))
    opt.zero_grad()  # torch steps an optimizer that has no state yet, and asks for no gradients before
    saved = {"base": get_optimizer_state_dict(model, opt.base), "geosam": opt.state_dict()["geosam"]}
    saved, weights = through_file(saved), copy.deepcopy(model.state_dict())
    train(model, opt, range(3, 5))
    resumed, other = parts()
    resumed.load_state_dict(weights)
    set_optimizer_state_dict(resumed, other.base, saved["base"])
    other.load_state_dict({**other.base.state_dict(), "geosam": saved["geosam"]})
    train(resumed, other, range(3, 5))
    assert same(clones(model), clones(resumed))
