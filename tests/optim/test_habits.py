"""What is written from habit is refused with what to write."""

import pytest
import torch

import geosam
from geosam import metrics

MODEL = torch.nn.Linear(3, 2)
PROBLEM = geosam.Problem(MODEL, torch.nn.CrossEntropyLoss())
BOUND = PROBLEM.on(torch.randn(6, 3), torch.tensor([0, 1] * 3))
SGD = torch.optim.SGD


def base():
    return SGD(MODEL.parameters(), lr=0.1)


HABITS = {
    "other libraries' constructor": (
        lambda: geosam.SAM(MODEL.parameters(), SGD, rho=0.05, lr=0.1),
        "geosam.SAM.torch.optim.SGD",
    ),
    "their keyword": (lambda: geosam.SAM(MODEL.parameters(), base_optimizer=SGD), "geosam.SAM.torch.optim.SGD"),
    "adaptive": (lambda: geosam.SAM(base(), adaptive=True), "ParameterScaled"),
    "an optimizer's class": (lambda: geosam.SAM(SGD), "got the class SGD"),
    "a metric's name": (lambda: geosam.SAM(base(), metric="euclidean"), r"such as geosam.metrics.Euclidean\(\)"),
    "a metric's class": (lambda: geosam.SAM(base(), metric=metrics.Euclidean), r"pass Euclidean\(\)"),
    "an update's name": (lambda: geosam.SAM(base(), update="gsam"), r"such as geosam.updates.Sharp\(\)"),
    "a number to match": (lambda: geosam.compare(BOUND, [metrics.Euclidean()], match=0.01), r"such as geosam.KL\(0.01\)"),
    "a number to calibrate by": (lambda: geosam.calibrate(BOUND, metrics.Euclidean(), 0.01), r"such as geosam.KL\(0.01\)"),
    "the problem for its batch": (
        lambda: geosam.compare(PROBLEM, [metrics.Euclidean()], rho=0.1),
        r"such as problem.on\(x, y\)",
    ),
    "the model for its batch": (lambda: metrics.Euclidean().at(MODEL), r"such as problem.on\(x, y\)"),
    "the loss before the model": (lambda: geosam.Problem(torch.nn.CrossEntropyLoss(), MODEL), "in this order"),
    "the loss's class": (lambda: geosam.Problem(MODEL, torch.nn.CrossEntropyLoss), r"CrossEntropyLoss\(\)"),
    "an engine's name": (lambda: metrics.EmpiricalFisher(engine="hooks"), r"such as geosam.engines.Auto\(\)"),
    "a number of samples": (lambda: metrics.Fisher(sampling=5), r"such as geosam.metrics.Exact\(\)"),
    "KL along KL": (lambda: metrics.KLExact(along=metrics.KLExact()), "another divergence"),
    "a model for its factory": (lambda: geosam.ablate(MODEL, (BOUND.x, BOUND.y), {"a": None}), "function of the seed"),
}


@pytest.mark.parametrize("name", HABITS)
def test_habits(name):
    habit, cure = HABITS[name]
    with pytest.raises(TypeError, match=cure):
        habit()


@pytest.mark.parametrize("method", ["first_step", "second_step"])
def test_methods_of_other_codes(method):
    with pytest.raises(AttributeError, match=r"opt\.(perturb|step)\("):
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
    assert all(type(v) is float for v in numbers.values()) and numbers["seconds"] > 0
    assert numbers["radius"] == pytest.approx(0.01, rel=0.02) and any(name.startswith("report/") for name in numbers)
