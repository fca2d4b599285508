"""What users of other libraries write; constructors of one's own, numbers for a logger. ``test_errors`` has faults by kind."""

import pytest
import torch

import geosam
from geosam import metrics
from geosam.optim.habits import METHODS
from geosam.testing import check_norm
from tests.networks import build, draw

MODEL = build(lambda: torch.nn.Linear(3, 2))
PROBLEM = geosam.Problem(MODEL, torch.nn.CrossEntropyLoss())
BOUND = PROBLEM.on(draw(6, 3), torch.tensor([0, 1] * 3))
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
    "a mapping for a list": (lambda: geosam.solve(geosam.norms.Sup(), {"w": BOUND.x}, 0.1), r"list\(c.values\(\)\)"),
    "a generator for a list": (lambda: geosam.solve(geosam.norms.Sup(), MODEL.parameters(), 0.1), r"list\(c\); got generator"),
    "a name of the radius": (lambda: geosam.SAM(base(), radius=0.1), "The radius is rho"),
    "a match for the radius": (
        lambda: geosam.SAM(base(), rho=geosam.KL(0.01)),
        r"geosam.calibrate\(problem.on\(x, y\), metric",
    ),
    "a function for a schedule": (lambda: geosam.SAM(base(), rho=lambda step: 0.1), r"geosam.schedules.WarmUp\("),
    "a word for a bound": (lambda: geosam.SAM(base(), max_norm="1"), "max_norm must be a number, got '1'"),
    "a word for a number": (lambda: metrics.GradientMagnitude(eta="1"), "eta must be a number, got '1'"),
    "a word for a match": (lambda: geosam.KL("small"), r"KL\(value\) must be a number, got 'small'"),
    "a word for a decay": (lambda: geosam.objectives.Smoothed("slow"), "decay must be a number, got 'slow'"),
    "a word for a selection": (lambda: metrics.ParameterScaled(where="weight"), r"where is a function, such as lambda name"),
    "a word for a likelihood": (
        lambda: geosam.Problem(MODEL, torch.nn.CrossEntropyLoss(), "categorical"),
        r"likelihood is a function, such as lambda outputs: torch.distributions",
    ),
    "lists for tensors": (lambda: PROBLEM.on(BOUND.x.tolist(), [0, 1]), r"torch.as_tensor\(x\); got list and list"),
    "a list for a group": (lambda: geosam.SAM(base()).add_param_group(list(MODEL.parameters())), r"\{'params': \[...\]\}"),
    "an optimizer for a batch": (lambda: metrics.Euclidean().at(geosam.SAM(base())), r"problem.on\(x, y\); got SAM$"),
    "a metric for a norm": (lambda: check_norm(metrics.Euclidean()), "norm must be an instance of Norm"),
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


@pytest.mark.parametrize("name, cure", [("metrics", r"it is opt\.metric"), ("lr", r"group\['lr'\] = ")])
def test_what_no_step_would_read_cannot_be_assigned(name, cure):
    opt = geosam.SAM(base())
    with pytest.raises(AttributeError, match=cure):
        setattr(opt, name, 0.1)
    opt.note, opt._note = "a note of one's own", 1


def test_a_batch_for_one_source():
    with pytest.raises(ValueError, match=r"a batch is one source, opt\.perturb\(problem\.on\(x, y\)\)"):
        geosam.SAM(base()).perturb(BOUND.x, BOUND.y)
    with pytest.raises(ValueError, match=r"name a metric at least, such as \[geosam\.metrics\.Euclidean\(\)\]"):
        geosam.compare(BOUND, [], rho=0.1)
    with pytest.raises(ValueError, match="tolerance must be finite and positive"):
        geosam.solvers.Radial(tolerance=-1)


def test_a_number_that_a_step_does_not_have():
    opt = geosam.SAM(base())
    opt.step(BOUND)
    with pytest.raises(AttributeError, match=r"no 'kl'; it has loss, dual_norm, radius, .* p\.epsilon"):
        _ = opt.last.kl


@pytest.mark.parametrize(
    "room, name, place",
    [
        (geosam, "Euclidean", "geosam.metrics.Euclidean"),
        (metrics, "Sup", "geosam.norms.Sup"),
        (geosam.engines, "Backpack", "geosam.engines.BackPACK"),
        (geosam.schedules, "warm_up", "geosam.schedules.WarmUp"),
    ],
)
def test_a_name_of_another_room(room, name, place):
    with pytest.raises(AttributeError, match=f"it is {place}$"):
        getattr(room, name)


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
