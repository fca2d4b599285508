"""The benchmarks' own machinery: what a race, a fit and a budget do, and every line of the accelerator's script on a CPU."""

import copy
import json
import time

import numpy as np
import pytest
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import geosam
from experiments.benchmarks import __main__ as command
from experiments.benchmarks import accelerator, budget, growth, report
from experiments.benchmarks.accelerator import JOBS, TINY, measure
from experiments.benchmarks.budget import contest
from experiments.benchmarks.growth import NAMES, line, point, polynomial, read
from experiments.benchmarks.networks import vision_transformer, wide_resnet
from experiments.benchmarks.timing import Clock, Job, Target, race

CPU = torch.device("cpu")
SIZES = np.array([32.0, 64, 128, 256, 512, 1024, 2048, 4096])


class Hand:
    """A clock that jobs move themselves: ``takes(3)`` is a job of 3 ms."""

    def __init__(self):
        self.now = 0.0

    def takes(self, milliseconds):
        def run():
            self.now += milliseconds

        return run

    @property
    def clock(self):
        def measure(run):
            begin = self.now
            run()
            return self.now - begin

        return Clock("hand", measure)


def test_a_race_reads_the_clock_that_it_is_given():
    hand = Hand()
    jobs = [Job("double", hand.takes(4.0))]
    raced = race(Job("floor", hand.takes(2.0)), jobs, 3, [Target("double", 1.5)], clock=hand.clock)
    assert raced["jobs"]["double"]["hand_ms"] == 4.0
    assert raced["jobs"]["double"]["ratio"] == raced["targets"][0]["value"] == 2.0
    assert not raced["targets"][0]["met"]
    assert (raced["rounds"], raced["aa_difference"], raced["void"]) == (3, 0.0, False)


def test_a_race_whose_time_is_up_still_has_one_round():
    hand = Hand()
    raced = race(Job("floor", hand.takes(1.0)), [], 9, clock=hand.clock, until=time.monotonic() - 1)
    assert raced["rounds"] == 1


@settings(deadline=None)
@given(st.tuples(*[st.floats(0.1, 10)] * 4))
def test_the_fit_finds_the_polynomial_that_is_there(sizes):
    a, b, c, d = np.array(sizes) * [10, 0.1, 1e-4, 1e-8]
    times = a + b * SIZES + c * SIZES**2 + d * SIZES**3
    fit = polynomial(SIZES, times, times)
    assert fit["crossover"] == pytest.approx(b / c, rel=1e-2)
    assert fit["to n³"] == pytest.approx(c / d, rel=1e-2)
    assert fit["misfit"] < 1e-6


def test_where_nothing_is_quadratic_there_is_no_crossover():
    fit = polynomial(SIZES, 3 + 0 * SIZES, np.ones_like(SIZES))
    assert fit["crossover"] is None and fit["a_ms"] == 3
    assert polynomial(SIZES, -SIZES, SIZES)["doubling"] is None  # a difference can be below zero, and has no logarithm


def test_the_exponent_in_the_parameters_is_that_of_the_times():
    count = 1e4 * 2.0 ** np.arange(6)
    assert line(count, 2e-6 * count)["exponent"] == 1.0
    assert line(count, 2e-6 * count)["b_ns"] == 2.0
    bent = line(count, 1.0 + 2e-6 * count**2)
    assert bent["larger half"] > 1.5 and bent["misfit"] > 0.1


def _one_mb(run, device):
    run()
    return 2**20


@pytest.fixture
def light(monkeypatch):
    """Without the profiler that counts bytes on a CPU, which takes seconds to start: a run still runs."""
    for module in (budget, growth):
        monkeypatch.setattr(module, "peak_bytes", _one_mb)


def test_a_point_of_growth_is_measured(light):
    row = point(4, 8, 0.0)
    assert row["n"] == 4 and row["parameters"] == 784 * 8 + 8 + 8 * 8 + 8 + 8 * 10 + 10
    assert row["rows_mb"] == round(4 * 4 * row["parameters"] / 2**20, 1)
    assert all(row[f"{name}_ms"] > 0 and row[f"{name}_mb"] == 1.0 for name in NAMES)


@pytest.fixture
def grown(tmp_path):
    """A record whose numbers are chosen: linear in P, and n² leads from n = 400 on in the second metric."""

    def row(n, count):
        times = (1 + 0.1 * n * count / 1e6, 2 + (0.1 * n + 0.1 / 400 * n**2) * count / 1e6, 3 + 0.2 * n * count / 1e6)
        named = {f"{name}_ms": t for name, t in zip(NAMES, times, strict=True)}
        return {"n": n, "parameters": count, "rows_mb": n * count / 2**18, **named, **{f"{name}_mb": 8.0 for name in NAMES}}

    by_n = {str(n): row(int(n), 1e6) for n in SIZES}
    by_parameters = {str(count): row(128, count) for count in (1e5, 3e5, 1e6, 3e6)}
    sweeps = {"over n": by_n, "over parameters": by_parameters}
    run = {"settings": dict.fromkeys(sweeps, "784-w-w-10"), **sweeps, **read(by_n, by_parameters)}
    path = tmp_path / "growth.json"
    path.write_text(json.dumps({"runs": {"pinned": run}}))
    return path


def test_the_figure_says_what_the_record_says(grown):
    from experiments.benchmarks.growth_figure import growth as draw

    left, right = draw(grown).axes
    words = [text.get_text() for text in (*left.texts, *right.texts)]
    assert any("n* = 400" in text for text in words)
    assert sum("peak 8 MB" in text for text in words) == 3
    assert [len(axes.lines) for axes in (left, right)] == [4, 3]  # the fourth is the crossover
    assert list(left.lines[1].get_xdata()) == list(SIZES)


def test_the_command_draws_without_measuring(grown, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_inside", lambda *_: pytest.fail("nothing is to be measured"))
    picture = tmp_path / "growth.png"
    command.main(["growth"], records=grown.parent, figure=picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(typer.BadParameter, match="only growth"):
        command.main(["move"], records=grown.parent, figure=picture)
    with pytest.raises(typer.BadParameter, match="no record"):
        command.main(["growth"], records=tmp_path / "empty", figure=picture)


@pytest.mark.parametrize("there", [False, True])
def test_what_did_not_run_is_recorded_but_never_in_place_of_what_did(there, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_inside", lambda *_: accelerator.run(quick=False, allocator="pinned"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = tmp_path / "accelerator.json"
    if there:
        path.write_text("measured")
    command.main(["accelerator"], records=tmp_path)
    assert path.read_text() == "measured" if there else "no CUDA device" in path.read_text()


def test_the_networks_have_the_size_of_the_literature():
    with torch.device("meta"):
        networks = wide_resnet(), vision_transformer(224, 16, 384, 12, 6, 1000)
    assert [sum(p.numel() for p in m.parameters()) for m in networks] == [36_479_194, 22_050_664]


def test_every_job_of_the_accelerator_is_raced_or_left_out_with_a_reason(light, capsys):
    result = measure(TINY, CPU, 1, 3600.0)
    for case in TINY:
        raced = result[case.name]
        assert set(JOBS) == (set(raced["jobs"]) | set(raced["left_out"])) - {"Euclidean (again)"}
        assert all(raced["left_out"].values())
        assert raced["jobs"]["Euclidean"]["peak_mb"] == 1.0
        assert "forward and backward" in result[f"{case.name}, one product"]["jobs"]
        report.show("accelerator", "pinned", result, Console(width=120))
        assert case.name in capsys.readouterr().out


def test_a_job_that_fails_or_is_too_slow_is_left_out_with_its_reason(light, monkeypatch):
    def fails():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 18.70 GiB.\nMore words")

    hand = Hand()
    monkeypatch.setattr(budget, "PROCESS", hand.clock)
    jobs = [Job("floor", hand.takes(1.0)), Job("fails", fails), Job("slow", hand.takes(1e6)), Job("runs", hand.takes(2.0))]
    raced = contest(jobs, 1, CPU, time.monotonic() + 1000)
    assert set(raced["jobs"]) == {"floor", "floor (again)", "runs"}
    assert raced["left_out"] == {
        "fails": "OutOfMemoryError: CUDA out of memory. Tried to allocate 18.70 GiB.",
        "slow": "too slow for 5 rounds: 1e+03 s, 1.0 MB",
    }


def test_a_job_without_end_is_stopped_also_where_the_first_alarm_is_lost(light, monkeypatch):
    monkeypatch.setattr(budget, "AGAIN", 0.05)
    lost = []

    def endless():
        try:
            time.sleep(60)
        except TimeoutError as error:
            lost.append(error)
        time.sleep(60)

    raced = contest([Job("floor", endless)], 1, CPU, time.monotonic() + 0.2)
    assert lost and raced["left_out"]["floor"].startswith("TimeoutError: not done after 0 s")


def test_without_its_floor_there_is_no_race(light):
    raced = contest([Job("floor", lambda: 1 / 0), Job("runs", lambda: None)], 1, CPU, time.monotonic() + 10)
    assert raced == {"left_out": {"floor": "ZeroDivisionError: division by zero"}}


def _alone(model, x):
    """The model for one sample at a time: BatchNorm with the mean and biased variance of the batch at θ, read at its inputs."""
    model = copy.deepcopy(model)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]

    def read(module, inputs):
        variance, mean = torch.var_mean(inputs[0].float(), (0, 2, 3), correction=0)
        module.held = mean.detach(), variance.detach()

    handles = [norm.register_forward_pre_hook(read) for norm in norms]
    model(x)
    for norm, handle in zip(norms, handles, strict=True):
        handle.remove()
        norm.running_mean, norm.running_var = norm.held
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
