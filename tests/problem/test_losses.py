"""Per-sample losses: their mean is the batch loss and the mean of their gradients is the batch gradient, always."""

import copy
import functools
import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam.engines import Func
from geosam.metrics import DiagonalEmpiricalFisher, EmpiricalFisher, Euclidean
from geosam.observation import MeanSquares
from geosam.problem.losses import canonical, sample_loss
from tests.networks import draw, labels

CLASSES, HEIGHT = 4, 3
WEIGHT = torch.tensor([0.2, 1.0, 3.0, 0.0], dtype=torch.float64)
WIDE = dict(dtype=torch.float64)


class MyCrossEntropy(nn.CrossEntropyLoss):
    """Not the class whose reduction geosam knows."""


@dataclass
class Scaled:
    """A loss with settings. Equality by value makes it unhashable."""

    factor: float

    def __call__(self, z: Tensor, y: Tensor) -> Tensor:
        return self.factor * (z - y).square().mean()


def mean_quartic(z: Tensor, y: Tensor) -> Tensor:
    return (z - y).pow(4).mean()


def sum_quartic(z: Tensor, y: Tensor) -> Tensor:
    return (z - y).pow(4).sum()


def contrastive(z: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(z @ z.T, torch.arange(len(z)))


def variance(z: Tensor, y: Tensor) -> Tensor:
    return (z - y).square().mean() + z.var(0, correction=0).mean()


def classes(n: int, g: torch.Generator, *extra: int) -> Tensor:
    return torch.randint(CLASSES - 1, (n, *extra), generator=g)  # weight 0 alone would leave nothing to divide by


def some_ignored(n: int, g: torch.Generator, *extra: int, index: int = -100) -> Tensor:
    y = classes(n, g, *extra)
    y[torch.rand(y.shape, generator=g) < 0.4] = index
    y.reshape(-1)[0] = 1
    return y


def pixels(n: int, g: torch.Generator) -> Tensor:
    return some_ignored(n, g, HEIGHT, HEIGHT)


def soft(n: int, g: torch.Generator, *extra: int) -> Tensor:
    return torch.rand(n, CLASSES, *extra, generator=g, **WIDE).softmax(1)


def numbers(n: int, g: torch.Generator) -> Tensor:
    return torch.randn(n, CLASSES, generator=g, **WIDE)


def coins(n: int, g: torch.Generator) -> Tensor:
    return (torch.rand(n, CLASSES, generator=g) < 0.5).double()


FLAT, IMAGE = (), (HEIGHT, HEIGHT)
LOSSES = {
    "cross-entropy": (nn.CrossEntropyLoss(), classes, FLAT),
    "class weights": (nn.CrossEntropyLoss(weight=WEIGHT), classes, FLAT),
    "ignore_index, some": (nn.CrossEntropyLoss(ignore_index=-1), functools.partial(some_ignored, index=-1), FLAT),
    "ignore_index, a real class": (nn.CrossEntropyLoss(ignore_index=2), functools.partial(some_ignored, index=2), FLAT),
    "ignore_index, none": (nn.CrossEntropyLoss(ignore_index=-1), classes, FLAT),
    "weights and ignored": (nn.CrossEntropyLoss(weight=WEIGHT), some_ignored, FLAT),
    "smoothing": (nn.CrossEntropyLoss(label_smoothing=0.1), classes, FLAT),
    "smoothing and weights": (nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.1), classes, FLAT),
    "smoothing, weights, ignored": (nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.1), some_ignored, FLAT),
    "soft targets": (nn.CrossEntropyLoss(), soft, FLAT),
    "soft targets, weights, smoothing": (nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.1), soft, FLAT),
    "segmentation": (nn.CrossEntropyLoss(), lambda n, g: classes(n, g, HEIGHT, HEIGHT), IMAGE),
    "segmentation, weights, ignored": (nn.CrossEntropyLoss(weight=WEIGHT), pixels, IMAGE),
    "segmentation, soft": (nn.CrossEntropyLoss(), lambda n, g: soft(n, g, HEIGHT, HEIGHT), IMAGE),
    "segmentation, smoothing, weights": (nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.2), pixels, IMAGE),
    "NLL": (nn.NLLLoss(weight=WEIGHT), some_ignored, FLAT),
    "MSE": (nn.MSELoss(), numbers, FLAT),
    "L1": (nn.L1Loss(), numbers, FLAT),
    "smooth L1": (nn.SmoothL1Loss(beta=0.5), numbers, FLAT),
    "Huber": (nn.HuberLoss(delta=0.3), numbers, FLAT),
    "BCE with logits": (nn.BCEWithLogitsLoss(), coins, FLAT),
    "BCE with pos_weight": (nn.BCEWithLogitsLoss(pos_weight=WEIGHT + 0.5), coins, FLAT),
    "BCE with entry weights": (nn.BCEWithLogitsLoss(weight=WEIGHT), coins, FLAT),
    "F.cross_entropy": (F.cross_entropy, some_ignored, FLAT),
    "F.mse_loss": (F.mse_loss, numbers, FLAT),
    "F.huber_loss": (F.huber_loss, numbers, FLAT),
    "partial F.cross_entropy": (
        functools.partial(F.cross_entropy, weight=WEIGHT, label_smoothing=0.1, ignore_index=0),
        functools.partial(some_ignored, index=0),
        FLAT,
    ),
    "partial F.bce": (functools.partial(F.binary_cross_entropy_with_logits, pos_weight=WEIGHT + 1), coins, FLAT),
    "custom mean": (mean_quartic, numbers, FLAT),
    "custom lambda": (lambda z, y: F.cross_entropy(z, y, label_smoothing=0.3), classes, FLAT),
    "subclass, all counted": (MyCrossEntropy(), classes, FLAT),
}


def problem_of(name: str, n: int, seed: int) -> tuple[nn.Module, Tensor, Tensor, object]:
    loss, targets, extra = LOSSES[name]
    g = torch.Generator().manual_seed(seed)
    model = nn.Conv2d(2, CLASSES, 1, **WIDE) if extra else nn.Linear(2, CLASSES, **WIDE)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g, **WIDE))
    return model, torch.randn(n, 2, *extra, generator=g, **WIDE), targets(n, g), loss


def gradient(loss: Tensor, model: nn.Module) -> Tensor:
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(model.parameters()))])


@pytest.mark.parametrize("name", LOSSES)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_samples_average_to_the_batch_in_value_and_gradient(name, n, seed):
    model, x, y, loss = problem_of(name, n, seed)
    whole = loss(model(x), y)
    sample = sample_loss(canonical(loss))
    together = sample.all(model(x), y)
    assert together.shape == (n,)
    factor = sample.factor(y, lambda: model(x))
    alone = [sample.one(model(x[i : i + 1]), y[i : i + 1], factor) for i in range(n)]
    torch.testing.assert_close(together, torch.stack(alone))
    torch.testing.assert_close(together.mean(), whole)
    mean = torch.stack([gradient(a, model) for a in alone]).mean(0)
    torch.testing.assert_close(mean, gradient(whole, model), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_runs_through_an_engine(name):
    model, x, y, loss = problem_of(name, 5, 0)
    bound = geosam.Problem(model, loss).on(x, y)
    seen = geosam.observe(bound, EmpiricalFisher(1e-3).needs)
    expected = gradient(loss(model(x), y), model)
    torch.testing.assert_close(torch.cat([g.reshape(-1) for g in seen.gradient]), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(seen.loss, loss(model(x), y).detach())


def test_a_loss_with_settings_need_not_be_hashable():
    model, x, y, _ = problem_of("MSE", 5, 0)
    seen = geosam.observe(geosam.Problem(model, Scaled(3.0)).on(x, y), EmpiricalFisher(1e-3).needs)
    torch.testing.assert_close(seen.loss, 3 * F.mse_loss(model(x), y).detach())


@pytest.mark.parametrize("loss", [sum_quartic, contrastive, variance])
def test_a_loss_that_is_no_mean_over_samples_is_refused(loss):
    model, x, y, _ = problem_of("MSE", 5, 0)
    bound = geosam.Problem(model, loss).on(x, y)
    with pytest.raises(ValueError, match="not a mean over samples"):
        geosam.observe(bound, EmpiricalFisher(1e-3).needs)
    assert torch.isfinite(geosam.observe(bound, geosam.metrics.Euclidean().needs).loss)


def test_a_subclass_that_ignores_targets_is_refused_rather_than_wrong():
    model, x, _, _ = problem_of("cross-entropy", 3, 0)
    bound = geosam.Problem(model, MyCrossEntropy()).on(x, torch.tensor([0, -100, 1]))
    with pytest.raises(ValueError, match="not a mean over samples"):
        geosam.observe(bound, EmpiricalFisher(1e-3).needs)


@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize("kind", ["module", "partial"])
def test_other_reductions_are_refused_with_the_cure(reduction, kind):
    loss = nn.MSELoss(reduction=reduction) if kind == "module" else functools.partial(F.mse_loss, reduction=reduction)
    with pytest.raises(ValueError, match=r"reduction='(sum|none)'.*reduction='mean'"):
        geosam.Problem(nn.Linear(2, 2), loss)


def test_a_weight_with_a_batch_dimension_is_refused():
    model, x, y, _ = problem_of("BCE with logits", 5, 0)
    loss = nn.BCEWithLogitsLoss(weight=torch.rand(5, CLASSES))
    with pytest.raises(ValueError, match="batch dimension"):
        geosam.observe(geosam.Problem(model, loss).on(x, y), EmpiricalFisher(1e-3).needs)


def test_a_positive_weight_with_a_batch_dimension_is_refused():
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.rand(4, 3) + 0.5)
    bound = geosam.Problem(nn.Linear(2, 3), loss).on(torch.ones(4, 2), torch.ones(4, 3))
    with pytest.raises(ValueError, match="ties the loss to one batch"):
        EmpiricalFisher().at(bound)


@pytest.mark.parametrize("shape, outputs", [((1,), ()), ((1, CLASSES), (CLASSES,)), ((3, 1), (2, 3, 2))])
def test_a_weight_that_meets_the_samples_with_size_one_is_a_weight(shape, outputs):
    g = torch.Generator().manual_seed(0)
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.rand(shape, generator=g, **WIDE) + 0.5)
    z, y = torch.randn(5, *outputs, generator=g, **WIDE), torch.rand(5, *outputs, generator=g, **WIDE)
    torch.testing.assert_close(sample_loss(loss).all(z, y).mean(), loss(z, y))


def test_a_positive_weight_of_one_number_with_outputs_of_one_number():
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0], **WIDE))
    model, x = nn.Sequential(nn.Linear(2, 1, **WIDE), nn.Flatten(0)), torch.randn(5, 2, generator=torch.Generator(), **WIDE)
    y = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0], **WIDE)
    seen = geosam.observe(geosam.Problem(model, loss).on(x, y), EmpiricalFisher().needs)
    torch.testing.assert_close(torch.cat([g.reshape(-1) for g in seen.gradient]), gradient(loss(model(x), y), model))


class Outputs(nn.Module):
    """A tuple, or a dict with something in it that is no tensor."""

    def __init__(self, named: bool) -> None:
        super().__init__()
        self.first, self.second, self.named = nn.Linear(2, CLASSES, **WIDE), nn.Linear(2, 2, **WIDE), named

    def forward(self, x: Tensor) -> object:
        a, b = self.first(x), self.second(x)
        return {"a": a, "b": b, "c": None} if self.named else (a, b)


@pytest.mark.parametrize("metric", [EmpiricalFisher(), DiagonalEmpiricalFisher()], ids=lambda metric: type(metric).__name__)
@pytest.mark.parametrize("named", [False, True], ids=["tuple", "dict"])
def test_outputs_and_targets_may_be_containers(named, metric):
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, 2, generator=g, **WIDE), (classes(5, g), torch.randn(5, 2, generator=g, **WIDE))
    a, b = ("a", "b") if named else (0, 1)

    def loss(z, y):
        return F.cross_entropy(z[a], y[0]) + F.mse_loss(z[b], y[1])

    model = Outputs(named)
    seen = geosam.observe(geosam.Problem(model, loss).on(x, y), metric.needs)
    rows = torch.stack([gradient(loss(model(x[i : i + 1]), (y[0][i : i + 1], y[1][i : i + 1])), model) for i in range(5)])
    (request,) = metric.needs
    squares = seen[request] if isinstance(request, MeanSquares) else seen[request].mean_squares()
    torch.testing.assert_close(torch.cat([s.reshape(-1) for s in squares]), rows.square().mean(0))
    with pytest.raises(ValueError, match="not a mean over samples"):
        geosam.observe(geosam.Problem(model, lambda z, y: 5 * loss(z, y).square()).on(x, y), metric.needs)


def test_targets_of_bytes_pick_weights_and_are_no_mask():
    loss, outputs = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2])), torch.randn(3, 3, generator=torch.manual_seed(0))
    targets = torch.tensor([0, 1, 1])
    found = sample_loss(loss).factor(targets.to(torch.uint8), lambda: outputs)
    assert float(found) == pytest.approx(float(sample_loss(loss).factor(targets, lambda: outputs)))


@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.2}, {"weight": torch.tensor([0.3, 1.0, 4.0])}, {"ignore_index": 1}]
)
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 2, 2)])
def test_the_slopes_of_cross_entropy_are_autograd_s_in_float64(options, shape):
    z, y = draw(*shape), labels(shape[0] * math.prod(shape[2:])).view(shape[0], *shape[2:])
    own, wide = nn.CrossEntropyLoss(**options), nn.CrossEntropyLoss(**options).double()
    moved = z.double().requires_grad_()
    (true,) = torch.autograd.grad(shape[0] * wide(moved, y), moved)
    torch.testing.assert_close(sample_loss(own).slopes(z, y), true, rtol=1e-12, atol=1e-14)


def test_the_slope_of_a_label_that_is_all_but_certain_keeps_its_digits():
    z = torch.tensor([[20.0, 0.0, 0.0]])
    slope = sample_loss(nn.CrossEntropyLoss()).slopes(z, torch.tensor([0]))
    true = 2 * math.exp(-20.0) / (1 + 2 * math.exp(-20.0))  # 4e-9: in float32 p is 1
    assert slope[0, 0].item() == pytest.approx(-true, rel=1e-7)


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 2.0, 3.0])), nn.HuberLoss()])
def test_slopes_of_other_losses_are_autograd_s(loss):
    z, y = draw(5, 3), draw(5, 3, seed=2).sigmoid()
    moved = z.double().requires_grad_()
    (true,) = torch.autograd.grad(5 * copy.deepcopy(loss).double()(moved, y.double()), moved)
    torch.testing.assert_close(sample_loss(loss).slopes(z, y), true)


@pytest.mark.parametrize("change", ["hook", "pre hook", "forward"])
def test_a_loss_that_computes_something_else_than_its_type_is_no_longer_known(change):
    loss, plain = nn.CrossEntropyLoss(), nn.CrossEntropyLoss()
    z, y = draw(5, 3), labels(5)
    if change == "hook":
        loss.register_forward_hook(lambda module, args, out: 3 * out)
    elif change == "pre hook":
        loss.register_forward_pre_hook(lambda module, args: (args[0] / 2, args[1]))
    else:
        loss.forward = lambda z, y: 3 * plain(z, y)  # type: ignore[method-assign, assignment]
    moved = z.double().requires_grad_()
    (true,) = torch.autograd.grad(5 * loss(moved, y), moved)
    torch.testing.assert_close(sample_loss(loss).slopes(z, y), true)
    assert geosam.Problem(nn.Linear(4, 3), loss).likelihood is None


@pytest.mark.parametrize(
    ("loss", "name", "value"),
    [(nn.CrossEntropyLoss(), "label_smoothing", 0.3), (nn.CrossEntropyLoss(weight=torch.ones(3)), "weight", torch.rand(3)),
     (nn.HuberLoss(), "delta", 0.1)],
)  # fmt: skip
def test_a_setting_that_changes_later_is_followed(loss, name, value):
    z, y = draw(5, 3), draw(5, 3, seed=2) if isinstance(loss, nn.HuberLoss) else labels(5)
    known = sample_loss(loss)
    setattr(loss, name, value)
    torch.testing.assert_close(known.all(z, y).mean(), loss(z, y))
    torch.testing.assert_close(known.slopes(z, y), sample_loss(loss).slopes(z, y))


def test_outputs_without_the_batch_first_are_refused_with_their_shapes():
    model = nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (2, 3)), nn.Flatten(0, 1))
    problem = geosam.Problem(model, lambda z, y: F.cross_entropy(z, y.flatten()))
    with pytest.raises(ValueError, match=r"\[\(10, 3\), \(5, 2\)\].*batch as the first dimension"):
        EmpiricalFisher().at(problem.on(draw(5, 4), labels(10).view(5, 2)))


KINDS = [torch.int64, torch.int32, torch.bool]
INTEGERS = [nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(), nn.BCEWithLogitsLoss(), nn.CrossEntropyLoss()]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("loss", INTEGERS, ids=repr)
@pytest.mark.parametrize("metric", [Euclidean(), EmpiricalFisher(engine=Func())], ids=lambda metric: type(metric).__name__)
def test_targets_of_a_type_that_torch_refuses_are_refused_with_the_cure(metric, loss, kind):
    y = torch.arange(5) % 2 if isinstance(loss, nn.CrossEntropyLoss) else torch.arange(10).view(5, 2) % 2
    model, z = nn.Linear(2, 2), draw(5, 2, seed=1).requires_grad_()
    bound = geosam.Problem(model, loss).on(draw(5, 2), y.to(kind))
    try:
        loss(z, y.to(kind)).backward()
    except RuntimeError:
        with pytest.raises(TypeError, match=r"the targets are torch.*: y\.(long|to)\("):
            metric.at(bound)
    else:
        metric.at(bound)


def doubled(module, args, output):
    return 2 * output


@pytest.mark.parametrize("metric", [Euclidean(), EmpiricalFisher(), DiagonalEmpiricalFisher()], ids=lambda m: type(m).__name__)
def test_a_hook_put_on_a_loss_later_is_seen(metric):
    loss, model, x, y = nn.MSELoss(), nn.Linear(2, 2), draw(5, 2), draw(5, 2, seed=1)
    problem = geosam.Problem(model, loss, likelihood=geosam.likelihoods.gaussian)
    bound = problem.on(x, y)
    before = geosam.observe(bound, metric.needs)
    handle = loss.register_forward_hook(doubled)
    with pytest.raises(RuntimeError, match="bind it again"):
        geosam.observe(bound, metric.needs)
    after = geosam.observe(problem.on(x, y), metric.needs)
    torch.testing.assert_close(list(after.gradient), [2 * g for g in before.gradient])
    handle.remove()
    torch.testing.assert_close(list(geosam.observe(problem.on(x, y), metric.needs).gradient), list(before.gradient))


def test_a_reduction_that_is_set_later_is_refused():
    loss = nn.MSELoss()
    bound = geosam.Problem(nn.Linear(2, 2), loss).on(draw(5, 2), draw(5, 2, seed=1))
    loss.reduction = "sum"
    for metric in (Euclidean(), EmpiricalFisher()):
        with pytest.raises(ValueError, match="reduction='sum'"):
            geosam.observe(bound, metric.needs)
