"""Every line of the accelerator's script on a CPU, and its Fisher in bfloat16 against a loop over samples."""

import copy
import json

import pytest
import torch
from rich.console import Console

import geosam
from experiments.benchmarks import accelerated_fishers, accelerator, report, worker
from experiments.benchmarks import measure as module
from experiments.benchmarks.accelerated_fishers import JOBS, fishers_of, product_of
from experiments.benchmarks.accelerated_steps import moves_of, over, steps_of
from experiments.benchmarks.brief import brief
from experiments.benchmarks.command import command
from experiments.benchmarks.scenes import TINY_MLP, TINY_VIT, TINY_WIDE, move_shapes

CPU = torch.device("cpu")


@pytest.mark.parametrize("there", [False, True])
def test_what_did_not_run_is_recorded_but_never_in_place_of_what_did(there, tmp_path, monkeypatch):
    def inside(name, allocator, quick, seconds, keep):
        worker.main(name, allocator, "full", str(tmp_path / "inside"), str(seconds))
        return json.loads((tmp_path / "inside").read_text())

    monkeypatch.setattr(module, "inside", inside)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = tmp_path / "accelerator.json"
    if there:
        path.write_text("measured")
    command(["accelerator"], records=tmp_path)
    assert path.read_text() == "measured" if there else "no CUDA device" in path.read_text()


def test_every_part_has_a_tiny_one():
    assert len(accelerator.parts(quick=True)) >= 9
    assert {title.split(",")[0] for title in accelerator.parts(quick=True)} == {
        "step", "perturb and restore", "one product", "Fishers"
    }  # fmt: skip


@pytest.mark.slow
def test_every_step_and_move_is_raced_or_left_out_with_a_reason(light, turn, capsys):
    raced = steps_of(TINY_MLP, 1, CPU, turn)
    assert {"floor", "copy, Euclidean", "swap, Euclidean", "reference SAM"} <= set(raced["jobs"])
    assert raced["left_out"]["captured floor"].endswith("graphs need a CUDA device")
    report.show("accelerator", "pinned", {TINY_MLP.name: raced}, Console(width=120))
    assert TINY_MLP.name in capsys.readouterr().out and "copy, Euclidean" in brief({TINY_MLP.name: raced})[0]
    moved = moves_of(move_shapes(quick=True)["one tensor"], 1, CPU, turn)
    assert moved["parameters"] == 10_000 and {"floor", "copy, Euclidean", "swap, ParameterScaled"} <= set(moved["jobs"])


def test_captured_jobs_are_compared_with_their_own_floor():
    rows = {"floor": {"device_ms": 4.0}, "captured floor": {"device_ms": 2.0}, "captured, Euclidean": {"device_ms": 2.1}}
    over("captured floor", {"jobs": rows})
    assert rows["captured, Euclidean"]["over_captured"] == 1.05 and "over_captured" not in rows["floor"]


@pytest.mark.slow
def test_every_fisher_is_raced_or_left_out_with_a_reason(light, turn):
    raced = fishers_of(TINY_VIT, 1, CPU, turn)
    assert set(JOBS) == (set(raced["jobs"]) | set(raced["left_out"])) - {"Euclidean (again)"}
    assert all(raced["left_out"].values()) and raced["jobs"]["Euclidean"]["peak_mb"] == 1.0
    assert sum(raced["rows of EmpiricalFisher"].values()) == raced["parameters"]
    assert "product" in product_of(TINY_VIT, 1, CPU, turn)["jobs"]


def test_a_network_with_frozen_statistics_is_raced_as_well(light, turn, monkeypatch):
    """Two jobs are enough: the rest of the script has run on the other network."""
    monkeypatch.setattr(accelerated_fishers, "JOBS", {name: JOBS[name] for name in ("Euclidean", "EmpiricalFisher")})
    assert TINY_WIDE.frozen
    assert set(fishers_of(TINY_WIDE, 1, CPU, turn)["jobs"]) == {"Euclidean", "Euclidean (again)", "EmpiricalFisher"}


def _alone(model, x):
    """The model for one sample at a time: BatchNorm with the mean and biased variance of the batch at θ, read at its inputs."""
    model = copy.deepcopy(model)
    held: dict[torch.nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]

    def read(module, inputs):
        variance, mean = torch.var_mean(inputs[0].float(), (0, 2, 3), correction=0)
        held[module] = mean.detach(), variance.detach()

    handles = [norm.register_forward_pre_hook(read) for norm in norms]
    model(x)
    for norm, handle in zip(norms, handles, strict=True):
        handle.remove()
        norm.running_mean, norm.running_var = held[norm]
        norm.eval()
    return model


def _unit(tensors):
    flat = torch.cat([t.detach().double().flatten() for t in tensors])
    return flat / flat.norm()


@pytest.mark.parametrize("case", [TINY_WIDE, TINY_VIT], ids=lambda case: case.name)
def test_in_bfloat16_the_empirical_fisher_is_that_of_a_loop_over_samples(case):
    """♯g = Jᵀ(JJᵀ + nλI)⁻¹1 with rows of J, one by one, under the same autocast."""
    model, bound = case.bind(CPU)
    alone = _alone(model, bound.x)
    losses = [torch.nn.functional.cross_entropy(alone(bound.x[i : i + 1]), bound.y[i : i + 1]) for i in range(len(bound.x))]
    rows = [torch.autograd.grad(loss, list(alone.parameters())) for loss in losses]
    jacobian = torch.stack([torch.cat([t.double().flatten() for t in row]) for row in rows])
    ridge = 0.1 * jacobian.square().mean() * torch.eye(bound.n)  # nλ, λ a tenth of the mean of F's diagonal
    solved = torch.linalg.solve(jacobian @ jacobian.T + bound.n * ridge, torch.ones(bound.n, dtype=torch.float64))
    wanted, gradient = _unit([solved @ jacobian]), _unit([jacobian.mean(0)])
    optimizer = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), geosam.metrics.EmpiricalFisher(), rho=1.0)
    with optimizer.perturbed(bound) as p:
        gap = (_unit(p.epsilon) - wanted).norm()
    assert gap < 0.01 < 0.1 < (gradient - wanted).norm()  # two units in the last place of bfloat16
