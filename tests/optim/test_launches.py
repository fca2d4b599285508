"""On an accelerator a step reads nothing on the host, and launches no more the more tensors there are.

Parameters are fake CUDA tensors: shapes and devices without numbers, so that a read raises and operations can be counted on
any machine. A multi-tensor operation counts once, unless its tensors or its scalar differ in type or device.
"""

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import geosam
from geosam import Metric, Swap, metrics, norms, objectives, updates

# a move remembers where parameters lie
pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor:UserWarning")

VIEWS = (
    "detach",
    "view",
    "_unsafe_view",
    "alias",
    "t",
    "expand",
    "select",
    "split",
    "unbind",
    "reshape",
    "unsqueeze",
    "empty_like",
)


class Count(TorchDispatchMode):
    """Counts what would be launched."""

    def __init__(self) -> None:
        super().__init__()
        self.launches = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "_foreach_" in str(func):
            tensors = [t for a in args for t in (a if isinstance(a, list | tuple) else [a]) if isinstance(t, Tensor)]
            self.launches += 1 if len({(t.dtype, t.device) for t in tensors}) == 1 else len(args[0])
        else:
            name = str(func).split(".")[1]
            self.launches += not (str(func).startswith("prim.") or name in VIEWS)
        return func(*args, **(kwargs or {}))


def launches(metric: Metric, tensors: int, dtypes=(torch.float32,), by_line: bool = False, **settings) -> int:
    """Of a second step beyond the base optimizer's, with momentum and multi-tensor operations of its own."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        kinds = [dtypes[i % len(dtypes)] for i in range(tensors)]
        parameters = [nn.Parameter(torch.randn(6, 5, device="cuda", dtype=kind)) for kind in kinds]
        gradients = [torch.randn(6, 5, device="cuda", dtype=kind) for kind in kinds]
        loss = torch.zeros((), device="cuda")
        base = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, foreach=True)
        opt = geosam.SAM(base, metric, **settings)

        def closure() -> Tensor:
            for p, g in zip(parameters, gradients, strict=True):
                p.grad = g
            return loss

        def whole() -> None:
            if by_line:
                opt.perturb(closure)
                closure()
                base.step()
            else:
                opt.step(closure)

        whole()
        for p in parameters:
            p.grad = None
        with Count() as step:
            whole()
        with Count() as plain:
            base.step()
        return step.launches - plain.launches


ENTRIES = [
    (metrics.Euclidean(), 34),
    (metrics.ParameterScaled(), 38),
    (metrics.GradientMagnitude(), 39),
    (metrics.GradientMagnitude(2.0, 0.1), 40),
    (metrics.Monge(), 48),
    (norms.Sup(), 42),
]


@pytest.mark.parametrize("metric, most", ENTRIES, ids=lambda x: repr(x))
def test_a_geometry_of_entries_launches_as_much_for_few_tensors_as_for_many(metric, most):
    few, many = launches(metric, 3), launches(metric, 6)
    assert few == many <= most


@pytest.mark.parametrize("settings", [{}, {"update": updates.SurrogateGap()}], ids=str)
def test_perturb_launches_what_step_launches(settings):
    by_step, by_line = (launches(metrics.GradientMagnitude(), 4, by_line=way, **settings) for way in (False, True))
    assert by_line <= by_step


@pytest.mark.parametrize(
    "metric, a_tensor", [(metrics.FilterWise(), 3), (metrics.LayerWise(), 3), (norms.Spectral(), 12)], ids=repr
)
def test_a_geometry_of_tensors_launches_a_few_for_each(metric, a_tensor):
    assert launches(metric, 6) - launches(metric, 3) <= 3 * a_tensor


@pytest.mark.parametrize(
    "settings",
    [
        {"objective": objectives.Smoothed(0.9)},
        {"objective": objectives.Residual()},
        {"update": updates.SurrogateGap()},
        {"update": updates.Natural(metrics.GradientMagnitude())},
        {"dtypes": (torch.float32, torch.float64)},
    ],
    ids=str,
)
def test_nor_do_other_moves_objectives_updates_and_types(settings):
    few, many = launches(metrics.Euclidean(), 3, **settings), launches(metrics.Euclidean(), 6, **settings)
    assert few == many


def test_nor_does_a_second_buffer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Swap, "check", lambda self, parameters: None)  # a fake tensor's storage has no users to count
    few, many = launches(metrics.Euclidean(), 3, move=Swap()), launches(metrics.Euclidean(), 6, move=Swap())
    assert few == many


def test_a_radius_a_group_costs_launches_for_the_group_alone():
    with FakeTensorMode(allow_non_fake_inputs=True):
        parameters = [nn.Parameter(torch.randn(6, 5, device="cuda")) for _ in range(12)]
        base = torch.optim.SGD([{"params": parameters[:6], "rho": 0.1}, {"params": parameters[6:]}], lr=0.1, foreach=True)
        opt = geosam.SAM(base, metrics.ParameterScaled())

        def closure() -> Tensor:
            for p in parameters:
                p.grad = torch.ones_like(p)
            return torch.zeros((), device="cuda")

        opt.step(closure)
        with Count() as step:
            opt.step(closure)
    assert step.launches < 100
