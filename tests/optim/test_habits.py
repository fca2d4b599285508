"""What users of other libraries write; constructors of one's own, numbers for a logger. ``test_errors`` has faults by kind."""

import pytest
import torch

import geosam
from geosam import metrics
from geosam.optim.habits import METHODS

MODEL = torch.nn.Linear(3, 2)
PROBLEM = geosam.Problem(MODEL, torch.nn.CrossEntropyLoss())
BOUND = PROBLEM.on(torch.randn(6, 3), torch.tensor([0, 1] * 3))
SGD = torch.optim.SGD


def base():
    return SGD(MODEL.parameters(), lr=0.1)


HABITS = {
    "a damping for the optimizer": (
        lambda: geosam.SAM(base(), damping=0.1),
        r"belongs to a part: .*metric=geosam.metrics.EmpiricalFisher\(damping=",
    ),
    "a momentum": (lambda: geosam.SAM(base(), momentum=0.9), "holds the parameters and its own settings"),
    "the batch for the closure": (lambda: geosam.SAM(base()).step(BOUND.x, BOUND.y), r"opt.step\(problem.on\(x, y\)\)"),
    "the targets for the scaler": (lambda: geosam.SAM(base()).step(BOUND, BOUND.y), "scaler is a torch GradScaler"),
    "the model for the closure": (lambda: geosam.SAM(base()).step(MODEL), r"opt.step\(problem.on\(x, y\)\)"),
    "a metric for its norm": (lambda: geosam.solve(metrics.Euclidean(), [BOUND.x], 0.1), r"metric.at\(problem.on\(x, y\)\)"),
    "one tensor for a list": (lambda: geosam.solve(geosam.norms.Sup(), BOUND.x, 0.1), r"a list of tensors .*\[c\]"),
    "a metric for a selector": (lambda: metrics.only(metrics.Euclidean()), "a selector is a pattern"),
    "a block without its weight": (
        lambda: metrics.Blockwise({"*": metrics.Euclidean()}),  # type: ignore[dict-item]
        r"\{selector: \(metric, weight\)\}",
    ),
    "a list of blocks": (lambda: metrics.Blockwise([metrics.Euclidean()]), r"\{selector: \(metric, weight\)\}"),
}


@pytest.mark.parametrize("name", HABITS)
def test_habits(name):
    habit, cure = HABITS[name]
    with pytest.raises(TypeError, match=cure):
        habit()


@pytest.mark.parametrize("method", METHODS)
def test_methods_of_other_codes(method):
    with pytest.raises(AttributeError, match=rf"{method!r}; .*(opt\.|SAM)"):
        getattr(geosam.SAM(base()), method)()


def test_a_constructor_of_ones_own_keeps_its_errors():
    class Mine(geosam.SAM):
        def __init__(self, base):
            super().__init__(base, rho=0.1)

    assert Mine(base()).rho == 0.1


def test_numbers_for_a_logger():
    opt = geosam.SAM(base(), metric=metrics.KLExact(along=metrics.Euclidean()), rho=0.01)
    opt.step(BOUND)
    numbers = opt.last.numbers()
    assert {"loss", "dual_norm", "radius", "finite", "skipped", "seconds"} <= set(numbers)
    assert all(type(v) is float and v == v for v in numbers.values()) and numbers["seconds"] > 0
    assert numbers["radius"] == pytest.approx(0.01, rel=0.02) and any(name.startswith("report/") for name in numbers)
