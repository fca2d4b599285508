"""A step's options on parameters that processes divide: with the same samples in all it is the step of one process."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import metrics, passes, schedules, updates
from tests.networks import draw, labels
from tests.optim.sharded import by_layers, full, gap, in_tensors
from tests.ranks import together

X, Y = draw(8, 4, dtype=torch.float64), labels(8)

OPTIONS: dict[str, dict[str, Any]] = {
    "clipped": {"max_norm": 0.05},
    "clipped, SurrogateGap": {"max_norm": 0.05, "update": updates.SurrogateGap(0.3)},
    "same masks": {"same_mask": True},
    "statistics of both": {"batchnorm": "both"},
    "statistics of the second": {"batchnorm": "second", "same_mask": True},
    "schedule": {"rho": schedules.Cosine(0.2, 0.05, 3)},
    "warm-up": {"rho": schedules.WarmUp(0.1, 2), "metric": metrics.GradientMagnitude()},
    "late": {"passes": passes.Late(1)},
    "every second": {"passes": passes.Every(2)},
    "again": {"passes": passes.Every(2, again=True), "batchnorm": "both"},
    "momentum": {"passes": passes.Momentum()},
}
ROUTES = ("problem", "closure", "problem, scaler", "closure, scaler", "perturb")


def network() -> nn.Module:
    """With running statistics and random numbers."""
    torch.manual_seed(0)
    layers = (nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Dropout(0.3), nn.Linear(7, 3))
    return nn.Sequential(*layers).double()


def train(model: nn.Module, options: dict[str, Any], route: str) -> list[torch.Tensor]:
    """Three steps; weights, statistics and the radius at the end."""
    opt = geosam.SAM(torch.optim.SGD(model.named_parameters(), lr=0.1, momentum=0.9), **{"rho": 0.1, **options})
    problem = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8) if "scaler" in route else None

    def closure() -> torch.Tensor:
        opt.zero_grad()
        loss = F.cross_entropy(model(X), Y)
        (loss if scaler is None else scaler.scale(loss)).backward()
        return loss

    torch.manual_seed(1)
    for _ in range(3):
        if route == "perturb":
            opt.zero_grad()
            opt.perturb(problem)
            F.cross_entropy(model(X), Y).backward()
            opt.base.step()
        else:
            opt.step(problem if "problem" in route else closure, scaler=scaler)
        if scaler is not None:
            scaler.update()
    return [*full(model.parameters()), *(b.double() for b in model.buffers()), torch.as_tensor(opt.last.radius)]


def a_scaler_hears_of_one_process() -> None:
    """What overflows in one process skips the step in all, and lowers the scale of all, whichever pass it was."""
    for at in (1, 2):
        model, calls = by_layers(network(), dist.get_world_size()), list[int]()
        opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.1)
        before, scaler = full(model.parameters()), torch.amp.GradScaler("cpu", init_scale=2.0**8)

        def spoil(module: nn.Module, inputs: Any, outputs: torch.Tensor, calls: Any = calls, at: int = at) -> torch.Tensor:
            calls.append(0)
            return outputs * (torch.inf if dist.get_rank() == 0 and len(calls) == at else 1.0)

        model.register_forward_hook(spoil)
        opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y), scaler=scaler)
        scaler.update()
        assert scaler.get_scale() == 2.0**7 and bool(opt.last.finite) == (at == 2), (at, opt.last)
        assert at == 1 or all(map(torch.equal, before, full(model.parameters())))


def what_has_no_meaning_is_refused() -> None:
    model = in_tensors(network(), dist.get_world_size())
    problem = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    for options, said in (
        ({"move": geosam.Masters()}, r"Masters\(\) with sharded parameters.*MixedPrecisionPolicy"),
        ({"move": geosam.Swap()}, r"Use move=geosam.Copy"),
        ({"ball": "rank"}, r"ball='rank' is one ε a process.*ball='global'"),
    ):
        before = full(model.parameters())
        opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), **options)
        for act in (opt.step, opt.perturb):
            with pytest.raises((NotImplementedError, ValueError), match=said):
                act(problem)
            assert all(map(torch.equal, before, full(model.parameters())))
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(NotImplementedError, match=r"GradScaler takes no optimizer with both.*use bfloat16"):
        opt.step(problem, scaler=torch.amp.GradScaler("cpu"))


def follow(expected: dict[Any, list[Any]], rows: list[Any], refusals: bool) -> None:
    for name, route, divide in rows:
        found = train(divide(network(), dist.get_world_size()), OPTIONS[name], route)
        apart = gap(found, [*map(torch.from_numpy, expected[name, route])])
        assert apart < 1e-12, (name, route, divide.__name__, apart)
    if refusals:
        a_scaler_hears_of_one_process()
        what_has_no_meaning_is_refused()


QUICK = [
    ("clipped", "problem, scaler", by_layers),
    ("same masks", "closure", by_layers),
    ("statistics of the second", "perturb", by_layers),
    ("again", "problem", in_tensors),
]
EVERY = [(name, route, by_layers) for name in OPTIONS for route in ROUTES]
EVERY += [(name, route, in_tensors) for name in OPTIONS for route in ROUTES if "scaler" not in route]


@pytest.mark.parametrize("rows", [QUICK, pytest.param(EVERY, marks=pytest.mark.slow)], ids=["quick", "every"])
def test_two_processes(tmp_path, rows):
    # as arrays: each tensor would be a file between processes
    expected = {(name, route): [t.numpy() for t in train(network(), OPTIONS[name], route)] for name, route, _ in rows}
    together(tmp_path, 2, follow, expected, rows, rows is QUICK)
