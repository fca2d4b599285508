"""Every line of the accelerator's script on a CPU, and its Fisher in bfloat16 against a loop over samples."""

import copy

import pytest
import torch
from rich.console import Console

import geosam
from experiments.benchmarks import accelerator, report
from experiments.benchmarks import command as module
from experiments.benchmarks.accelerator import JOBS, TINY, measure
from experiments.benchmarks.command import command

CPU = torch.device("cpu")


@pytest.mark.parametrize("there", [False, True])
def test_what_did_not_run_is_recorded_but_never_in_place_of_what_did(there, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_inside", lambda *_: accelerator.run(quick=False, allocator="pinned"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = tmp_path / "accelerator.json"
    if there:
        path.write_text("measured")
    command(["accelerator"], records=tmp_path)
    assert path.read_text() == "measured" if there else "no CUDA device" in path.read_text()


def _raced(cases):
    result = measure(cases, CPU, 1, 3600.0)
    for case in cases:
        raced = result[case.name]
        assert set(accelerator.JOBS) == (set(raced["jobs"]) | set(raced["left_out"])) - {"Euclidean (again)"}
        assert all(raced["left_out"].values())
        assert raced["jobs"]["Euclidean"]["peak_mb"] == 1.0
        assert "forward and backward" in result[f"{case.name}, one product"]["jobs"]
    return result


def test_every_job_of_the_accelerator_is_raced_or_left_out_with_a_reason(light, capsys):
    (case,) = TINY[1:]
    report.show("accelerator", "pinned", _raced([case]), Console(width=120))
    assert case.name in capsys.readouterr().out


def test_a_network_with_frozen_statistics_is_raced_as_well(light, monkeypatch):
    """Two jobs are enough: the rest of the script has run on the other network."""
    monkeypatch.setattr(accelerator, "JOBS", {name: JOBS[name] for name in ("Euclidean", "EmpiricalFisher")})
    assert TINY[0].frozen
    _raced(TINY[:1])


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


@pytest.mark.parametrize("case", TINY, ids=lambda case: case.name)
def test_in_bfloat16_the_empirical_fisher_is_that_of_a_loop_over_samples(case):
    """♯g = Jᵀ(JJᵀ + nλI)⁻¹1 with rows of J, one by one, under the same autocast."""
    model, bound = case.bind(CPU)
    alone = _alone(model, bound.x)
    losses = [torch.nn.functional.cross_entropy(alone(bound.x[i : i + 1]), bound.y[i : i + 1]) for i in range(case.n)]
    rows = [torch.autograd.grad(loss, list(alone.parameters())) for loss in losses]
    jacobian = torch.stack([torch.cat([t.double().flatten() for t in row]) for row in rows])
    ridge = 0.1 * jacobian.square().mean() * torch.eye(case.n)  # nλ, λ a tenth of the mean of F's diagonal
    solved = torch.linalg.solve(jacobian @ jacobian.T + case.n * ridge, torch.ones(case.n, dtype=torch.float64))
    wanted, gradient = _unit([solved @ jacobian]), _unit([jacobian.mean(0)])
    optimizer = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), geosam.metrics.EmpiricalFisher(), rho=1.0)
    with optimizer.perturbed(bound) as p:
        gap = (_unit(p.epsilon) - wanted).norm()
    assert gap < 0.01 < 0.1 < (gradient - wanted).norm()  # two units in the last place of bfloat16
