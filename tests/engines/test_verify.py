"""Rows are compared with autograd by weights: permuted ones, ones of meeting samples and ones lost in 16 bits are found."""

from collections import Counter
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import geosam
from geosam.engines import Auto, Engine, Func, Hooks
from geosam.engines.schedule import FIRST, SHARE, Record
from geosam.engines.still import unrounded
from geosam.metrics import DiagonalEmpiricalFisher, DiagonalFisher, EmpiricalFisher, Fisher
from geosam.observation import LabelDraws, MeanSquares, PerSampleGradients
from geosam.rows import Materialised, Rows
from geosam.sampling import Exact, MonteCarlo
from tests.networks import build, draw, labels, mlp, network


@dataclass(frozen=True)
class Shuffled(Engine):
    """Rows of the last parameters belong to other samples; their mean and their squares' mean are right."""

    drawn: bool = False
    cure: bool = False

    def capture(self, bound, parameters, draw=None):
        found = Func().capture(bound, parameters, draw)
        rows = found.rows if self.drawn else shuffled(found.rows, bound.n)
        return found._replace(rows=rows, drawn=found.drawn and shuffled(found.drawn, bound.n))

    def instead(self):
        return Func() if self.cure else None


def shuffled(rows: Rows, n: int) -> Materialised:
    assert isinstance(rows, Materialised)
    every = rows.jacobian
    like = [j.view(len(j), *p.shape) for j, p in zip(every, rows.like, strict=True)]
    return Materialised([*like[:-2], *(j.view(-1, n, *j.shape[1:]).roll(1, 1).flatten(0, 1) for j in like[-2:])])


def bound(model: nn.Module | None = None, n: int = 6, **how: object) -> geosam.problem.Bound:
    return geosam.Problem(model or build(mlp), nn.CrossEntropyLoss(), **how).on(draw(n, 4), labels(n))


@pytest.mark.parametrize(
    "request_",
    [
        PerSampleGradients(Shuffled()),
        MeanSquares(Shuffled()),
        LabelDraws(MonteCarlo(2), Shuffled(drawn=True)),
        LabelDraws(Exact(), Shuffled(drawn=True)),
    ],
    ids=repr,
)
def test_rows_whose_mean_is_right_but_that_are_other_samples_are_refused(request_):
    here = bound()
    with pytest.raises(ValueError, match="do not add up"):
        geosam.observe(here, (request_,))
    seen = geosam.observe(bound(), (PerSampleGradients(Func()),))
    rows = seen[PerSampleGradients(Func())]
    torch.testing.assert_close(shuffled(rows, 6).vjp(torch.ones(6)), rows.vjp(torch.ones(6)))  # the mean does not show it


def test_products_replace_drawn_rows_that_are_wrong():
    ones = [torch.ones_like(p) for p in build(mlp).parameters()]
    found, true = (Fisher(0.1, engine=engine).at(bound()).sharp(ones) for engine in (Shuffled(drawn=True), Func()))
    torch.testing.assert_close(found, true, rtol=1e-3, atol=1e-4)


def test_another_engine_takes_over_where_rows_are_wrong_and_stays():
    problem = geosam.Problem(build(mlp), nn.CrossEntropyLoss())
    request = PerSampleGradients(Shuffled(cure=True))
    for seed in range(3):
        here = problem.on(draw(6, 4, seed=seed), labels(6))
        found = geosam.observe(here, (request,))[request]
        torch.testing.assert_close(found.gram(), Func().rows(here, here.parameters)[1].gram())
        assert here.explain(EmpiricalFisher(engine=request.engine)).endswith("Func (chosen by name)")


def test_which_batches_are_verified():
    def count(check: str, batches: int) -> list[bool]:
        here, record, seen = bound(check=check), Record(), []
        for _ in range(batches):
            seen.append(record.due(here))
            if seen[-1]:
                record.passes(settled=True)
        return seen

    sampled = count("sampled", 3000)
    assert all(sampled[:FIRST]) and 0.5 * SHARE < sum(sampled[FIRST:]) / 3000 < 1.5 * SHARE
    assert count("first", 20) == [True] + [False] * 19 and all(count("always", 20))
    with pytest.raises(ValueError, match="always, sampled, first"):
        geosam.Problem(build(mlp), nn.CrossEntropyLoss(), check="never")


def test_a_first_batch_that_leaves_gradients_at_zero_is_not_the_last_that_is_verified():
    model = build(mlp)
    nn.init.zeros_(model[2].weight)
    here = bound(model, check="first")
    geosam.observe(here, EmpiricalFisher().needs)
    record = Record.of(Auto(), here, here.parameters)
    assert record.passed == 1 and record.due(here)
    nn.init.normal_(model[2].weight)
    geosam.observe(here, EmpiricalFisher().needs)
    assert not record.due(here)


@pytest.mark.parametrize(
    "metric", [EmpiricalFisher(), DiagonalFisher(sampling=MonteCarlo(1, torch.Generator()))], ids=["rows", "draws"]
)
def test_a_check_uses_no_random_number_of_the_users(metric):
    states = []
    for check in ("always", "first"):
        torch.manual_seed(0)
        here = bound(build(lambda: nn.Sequential(nn.Linear(4, 5), nn.Dropout(), nn.Linear(5, 3))), check=check)
        for _ in range(3):
            geosam.observe(here, metric.needs, train=True)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


class Sometimes(nn.Module):
    """Samples meet in batches whose mean is positive, by no operation that moves samples."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.last(torch.tanh(h - h.mean(0) * x.mean().relu()))


@pytest.mark.parametrize("engine", [Auto(), Func()], ids=repr)
@pytest.mark.parametrize("metric", [EmpiricalFisher, DiagonalEmpiricalFisher])
@pytest.mark.parametrize("check", ["always", "sampled", "first"])
def test_meeting_that_depends_on_the_batch_is_named_as_such(check, metric, engine):
    problem = geosam.Problem(build(Sometimes), nn.CrossEntropyLoss(), check=check)
    x, y = draw(6, 4).abs(), labels(6)
    needs = metric(engine=engine).needs
    geosam.observe(problem.on(-x, y), needs)
    if check == "first":
        geosam.observe(problem.on(x, y), needs)  # not asked again, as its name says
        return
    with pytest.raises(ValueError, match=r"lets samples meet.*depends on the batch.*check='always'"):
        geosam.observe(problem.on(x, y), needs)
    geosam.observe(problem.on(-x, y), needs)


class Capacity(nn.Module):
    """One expert that takes half of the batch; the others get nothing where more come."""

    def __init__(self) -> None:
        super().__init__()
        self.expert, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        taken = (x[:, 0] > 0).nonzero()[: max(1, len(x) // 2), 0]
        return self.head(x.new_zeros(len(x), 4).index_add(0, taken, self.expert(x[taken])))


def test_losses_that_samples_have_alone_but_not_together_are_enough_for_a_check():
    problem, x = geosam.Problem(build(Capacity), nn.CrossEntropyLoss(), check="first"), draw(6, 4)
    few, many = (torch.cat([sign.unsqueeze(1), x[:, 1:]], 1) for sign in (torch.tensor([1.0, -1] * 3), torch.ones(6)))
    geosam.observe(problem.on(few, labels(6)), EmpiricalFisher().needs)
    with pytest.raises(ValueError, match="depends on the batch"):
        geosam.observe(problem.on(many, labels(6)), EmpiricalFisher().needs)


@pytest.mark.parametrize("engine", [Auto(), Func()], ids=repr)
def test_a_hook_that_changes_a_gradient_is_named(engine):
    here = bound()
    here.parameters[0].register_hook(lambda g: 0 * g)
    with pytest.raises(ValueError, match="a hook on a parameter"):
        geosam.observe(here, EmpiricalFisher(engine=engine).needs)


class Coarse(TorchDispatchMode):
    """Convolutions round their inputs to 10 bits, as TF32 does on a device while cuDNN is on."""

    def __torch_dispatch__(self, func, kinds, args=(), kwargs=None):
        if "convolution" in str(func) and torch.backends.cudnn.enabled:
            args = [self.rounded(a) if isinstance(a, Tensor) and a.dtype == torch.float32 else a for a in args]
        return func(*args, **(kwargs or {}))

    @staticmethod
    def rounded(t: Tensor) -> Tensor:
        return (t.view(torch.int32) + 0x1000).bitwise_and(~0x1FFF).view(torch.float32)


def deep(width: int = 8, depth: int = 6) -> nn.Module:
    layers = [m for _ in range(depth) for m in (nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(2, width), nn.ReLU())]
    return nn.Sequential(nn.Conv2d(3, width, 3), *layers, nn.Flatten(), nn.Linear(width * 36, 3))


@pytest.mark.parametrize("metric", [EmpiricalFisher(), DiagonalEmpiricalFisher(), DiagonalFisher()], ids=repr)
def test_convolutions_in_tf32_are_verified_in_full_precision(metric):
    model = build(deep)
    here = geosam.Problem(model, nn.CrossEntropyLoss(), check="always").on(draw(6, 3, 8, 8), labels(6))
    with Coarse():
        geosam.observe(here, metric.needs)
        with pytest.raises(ValueError, match="do not add up"):
            geosam.observe(here, (PerSampleGradients(Shuffled()),))


def test_matrix_products_are_exact_inside_and_as_before_outside():
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        assert torch.backends.cuda.matmul.allow_tf32
        with unrounded():
            assert getattr(torch.backends.cuda.matmul, "fp32_precision", "ieee") == "ieee"
        assert torch.backends.cuda.matmul.allow_tf32 and torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("name", ["cnn", "residual, GroupNorm", "transformer"])
def test_rows_under_autocast_are_those_of_float64_to_two_percent(name, capsys):
    model, x, y = network(name)
    here = geosam.Problem(model, nn.CrossEntropyLoss(), check="always").on(x, y)
    wide, x, y = network(name, dtype=torch.float64)
    wide.load_state_dict(model.state_dict())
    true = Hooks().rows(geosam.Problem(wide, nn.CrossEntropyLoss()).on(x, y), list(wide.parameters()))[1].gram()
    request = PerSampleGradients(Auto())
    with torch.autocast(x.device.type, torch.bfloat16):
        found = geosam.observe(here, (request,))[request].gram()
    error = ((found - true).norm() / true.norm()).item()
    with capsys.disabled():
        print(f"\n{name}: Gram matrix of rows under autocast to bfloat16, relative error {error:.1e}")
    assert 1e-4 < error < 0.02


@pytest.mark.parametrize("engine", [Auto(), Func()], ids=repr)
def test_rows_that_underflow_in_float16_are_refused(engine):
    model = build(mlp)
    with torch.no_grad():
        model[2].bias.copy_(torch.tensor([16.0, 0.0, 0.0]))  # every sample is certain, and right
    x, y = draw(6, 4), torch.zeros(6, dtype=torch.long)
    geosam.observe(geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y), EmpiricalFisher(engine=Hooks()).needs)
    with pytest.raises(ValueError, match=r"leave the range of their precision.*float16"):
        geosam.observe(
            geosam.Problem(model.half(), nn.CrossEntropyLoss()).on(x.half(), y), EmpiricalFisher(engine=engine).needs
        )


def passes(check: str, metric: geosam.Metric, steps: int) -> Counter[str]:
    """Forward and backward passes of the model in these steps, after the first."""
    counted: Counter[str] = Counter()
    model = build(mlp)

    def note(module, args, out):
        counted["forward"] += 1
        if out.requires_grad:
            out.register_hook(lambda g: counted.update(["backward"]))

    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric)
    here = geosam.Problem(model, nn.CrossEntropyLoss(), check=check).on(draw(6, 4), labels(6))
    opt.step(here)
    model.register_forward_hook(note)
    for _ in range(steps):
        opt.step(here)
    return counted


@pytest.mark.parametrize("metric", [EmpiricalFisher(), DiagonalEmpiricalFisher(), DiagonalFisher(sampling=MonteCarlo(1))])
def test_a_check_is_one_forward_and_one_backward_pass(metric):
    never, always = (passes(check, metric, 4) for check in ("first", "always"))
    assert all(always[way] == never[way] + 4 for way in ("forward", "backward"))


def test_the_default_costs_two_passes_in_a_hundred_batches():
    never, sampled = (passes(check, EmpiricalFisher(), 100) for check in ("first", "sampled"))
    for way in ("forward", "backward"):
        assert 0 <= sampled[way] - never[way] - (FIRST - 1) <= 2 * 90 * SHARE


class ByDeviation(nn.Module):
    """Divides by a deviation over the batch, which one sample alone does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        last: Tensor = self.last(torch.tanh(h * (len(x) - 1) / (h - h.mean(0)).square().sum(0)))
        return last


@pytest.mark.parametrize("metric", [EmpiricalFisher(), DiagonalEmpiricalFisher(), DiagonalFisher()])
def test_rows_that_are_nan_beside_a_finite_gradient_are_refused(metric):
    with pytest.raises(ValueError, match=r"relative gap inf.*lets samples meet"):
        metric.at(bound(ByDeviation()))
