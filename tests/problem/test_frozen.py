"""BatchNorm with one batch's statistics held still: rows against single samples, g against autograd, and no trace."""

import itertools
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam.core import vectors as vec
from geosam.engines import BackPACK, Func, Hooks
from geosam.metrics import (
    BlockDiagonal,
    DiagonalEmpiricalFisher,
    DiagonalFisher,
    EmpiricalFisher,
    Fisher,
    GradientMagnitude,
    KLExact,
    KroneckerFisher,
    MonteCarlo,
)
from geosam.observation import MeanSquares, PredictiveDistribution
from geosam.observation.drawing import Drawing
from geosam.problem import frozen as module_under_test
from geosam.problem.frozen import frozen
from tests.batch_norms import NETS, by_hand, gradient_by_hand, problem, rows_by_hand, vectors
from tests.fishers import rows_of
from tests.networks import batch_norm_net, build, clones, draw, labels, same

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-10}


def dense(rows) -> Tensor:
    return torch.stack([vec.flatten(rows.vjp(e)) for e in torch.eye(rows.n, dtype=torch.float64)])


def gap(found: Tensor, want: Tensor) -> float:
    return float((found.double() - want).norm() / want.norm())


def label(value: object) -> str:
    return str(value).removeprefix("torch.") if isinstance(value, str | torch.dtype) else type(value).__name__


CASES = [
    *((name, engine, torch.float64) for name in NETS for engine in (Func(), Hooks())),
    *((name, BackPACK(), torch.float64) for name in ("BatchNorm1d", "BatchNorm2d, two")),
    *((name, Hooks(), torch.float32) for name in ("BatchNorm1d", "BatchNorm2d, two", "BatchNorm3d")),
]


@pytest.mark.parametrize("name, engine, dtype", CASES, ids=label)
def test_rows_are_those_of_single_samples_and_their_mean_is_autograd_s(name, engine, dtype):
    bound, _ = problem(name, dtype=dtype)
    seen = geosam.observe(bound, EmpiricalFisher(engine=engine).needs)
    tolerance = TOLERANCE[dtype]
    assert gap(dense(rows_of(seen)), rows_by_hand(bound)) <= tolerance
    assert gap(vec.flatten(list(seen.gradient)), gradient_by_hand(bound)) <= tolerance
    squares = geosam.observe(bound, DiagonalEmpiricalFisher(engine=engine).needs)
    assert gap(vec.flatten(squares[MeanSquares(engine)]), rows_by_hand(bound).square().mean(0)) <= tolerance
    assert gap(vec.flatten(list(squares.gradient)), gradient_by_hand(bound)) <= tolerance
    assert gap(seen.loss, F.cross_entropy(by_hand(bound.model)(bound.x.double()), bound.y).detach()) <= tolerance


@given(st.sampled_from(list(NETS)), st.integers(2, 7), st.integers(0, 1000), st.sampled_from([Func(), Hooks()]))
def test_whatever_the_batch(name, n, seed, engine):
    bound, _ = problem(name, n, torch.float64, seed)
    seen = geosam.observe(bound, EmpiricalFisher(engine=engine).needs)
    want = rows_by_hand(bound)
    assert (dense(rows_of(seen)) - want).norm() <= 1e-9 * (1 + want.norm())
    assert (vec.flatten(list(seen.gradient)) - want.mean(0)).norm() <= 1e-9 * (1 + want.mean(0).norm())


def unbiased(module, x):
    variance, mean = torch.var_mean(x, [d for d in range(x.dim()) if d != 1], correction=1)
    return mean, variance


def running(module, x):
    return torch.zeros(x.shape[1], dtype=x.dtype), torch.ones(x.shape[1], dtype=x.dtype)


@pytest.mark.parametrize("wrong", [unbiased, running], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", ["BatchNorm1d", "BatchNorm2d, two"])
def test_other_statistics_are_told_apart_by_the_oracle_and_refused(monkeypatch, name, wrong):
    monkeypatch.setattr(module_under_test, "_moments", wrong)
    bound, _ = problem(name, dtype=torch.float64)
    with pytest.raises(ValueError, match="outputs differ from those of training mode"):
        EmpiricalFisher().at(bound)
    monkeypatch.setattr(module_under_test, "_check_same", lambda *_: True)
    seen = geosam.observe(bound, EmpiricalFisher().needs)
    assert gap(dense(rows_of(seen)), rows_by_hand(bound)) > 1e-3


@pytest.mark.parametrize("name", list(NETS))
def test_the_gradient_lacks_the_terms_through_the_statistics_and_only_these(name):
    bound, _ = problem(name, dtype=torch.float64)
    whole = vec.flatten(list(geosam.observe(bound, GradientMagnitude().needs).gradient))
    assert gap(whole, gradient_by_hand(bound, still=False)) < 1e-10  # needs no samples, so in training mode as ever
    held = vec.flatten(list(geosam.observe(bound, EmpiricalFisher().needs).gradient))
    assert gap(held, whole) > 1e-2


PER_SAMPLE = [
    EmpiricalFisher(0.1),
    EmpiricalFisher(0.1, engine=Func()),
    DiagonalEmpiricalFisher(0.1),
    DiagonalEmpiricalFisher(0.1, engine=BackPACK()),
    Fisher(0.1, sampling=MonteCarlo(2)),
    DiagonalFisher(0.1),
    DiagonalFisher(0.1, sampling=MonteCarlo(1), engine=Func()),
    KLExact(along=EmpiricalFisher(0.1)),
    BlockDiagonal(EmpiricalFisher(0.1)),
    KroneckerFisher(0.1, rest=DiagonalFisher(0.1)),
]


def bind(model: nn.Module, **options):
    return geosam.Problem(model, nn.CrossEntropyLoss(), frozen_statistics=True, **options).on(draw(6, 4), labels(6))


@pytest.mark.parametrize("metric", PER_SAMPLE, ids=repr)
def test_steps_run_and_running_statistics_see_both_passes(metric):
    model, twin = build(batch_norm_net), build(batch_norm_net)
    bound, x = bind(model), draw(6, 4)
    with pytest.raises(ValueError, match=r"frozen_statistics=True|statistics frozen"):
        metric.at(geosam.Problem(model, nn.CrossEntropyLoss()).on(x, labels(6)))
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric, rho=0.05, batchnorm="both")
    with opt.perturbed(bound) as p:
        twin(x)  # the first pass, at θ
        assert all(torch.equal(a, b) for a, b in zip(model.buffers(), twin.buffers(), strict=True))
        with torch.no_grad():
            vec.add_(list(twin.parameters()), p.epsilon)
        bound()
        F.cross_entropy(twin(x), labels(6)).backward()  # the second, at θ + ε, in training mode
    for a, b in zip(model.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    assert p.last.finite and p.last.radius.item() == pytest.approx(0.05, rel=0.011)
    before = clones(model)
    opt.step(bound)
    assert not same(clones(model), before) and model[1].num_batches_tracked == 4 and opt.last.finite


@pytest.mark.parametrize("metric", PER_SAMPLE, ids=repr)
def test_the_gradient_is_the_frozen_one_whatever_the_per_sample_requests(metric):
    bound = bind(build(batch_norm_net, dtype=torch.float64))
    bound = geosam.Problem(bound.model, bound.loss, frozen_statistics=True).on(bound.x.double(), bound.y)
    found = vec.flatten(list(geosam.observe(bound, metric.needs).gradient))
    assert gap(found, gradient_by_hand(bound)) < 1e-10


@pytest.mark.parametrize("chunk", [1, 4])
def test_chunks_of_samples_see_the_statistics_of_the_whole_batch(monkeypatch, chunk):
    bound, _ = problem("BatchNorm2d, two", dtype=torch.float64)
    metric = DiagonalFisher(engine=Func())
    (request,) = metric.needs
    whole = geosam.observe(bound, metric.needs)
    monkeypatch.setattr(Drawing, "_width", lambda *_: chunk)
    cut = geosam.observe(bound, metric.needs)
    assert "at a time" in cut[request].how
    assert gap(vec.flatten(cut[request].squares), vec.flatten(whole[request].squares)) < 1e-12
    assert gap(vec.flatten(list(cut.gradient)), gradient_by_hand(bound)) < 1e-12


@pytest.mark.parametrize("metric", [Fisher(0.1), KLExact(along=GradientMagnitude()), GradientMagnitude()], ids=repr)
def test_what_needs_no_samples_stays_in_training_mode(metric):
    model = build(batch_norm_net)
    x, y = draw(6, 4), labels(6)
    plain, held = (geosam.Problem(model, nn.CrossEntropyLoss(), frozen_statistics=f).on(x, y) for f in (False, True))
    one, other = (geosam.observe(b, metric.needs) for b in (plain, held))
    assert same(list(one.gradient), list(other.gradient))
    epsilons = [geosam.solve(metric.at(e), e.gradient, 0.05).epsilon for e in (one, other)]
    assert same(*epsilons)


def test_kl_along_a_frozen_geometry_is_that_of_training_mode():
    model = build(batch_norm_net)
    seen = geosam.observe(bind(model), KLExact(EmpiricalFisher(0.1)).needs + Fisher(0.1, sampling=MonteCarlo(1)).needs)
    assert torch.equal(seen[PredictiveDistribution()].outputs, model(draw(6, 4)))
    assert seen[PredictiveDistribution()].kl([torch.zeros_like(p) for p in seen.parameters]) == 0


class Failing(nn.Module):
    """Raises in the forward pass number ``at``."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.passes = at, itertools.count(1)  # of all copies together

    def forward(self, x: Tensor) -> Tensor:
        if next(self.passes) == self.at:
            raise RuntimeError("failed in forward")
        return x


def traces(model: nn.Module) -> list[object]:
    parts = [(m.training, sorted(vars(m)), len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    return [parts, [id(t) for t in (*model.parameters(), *model.buffers())], [p.grad for p in model.parameters()]]


@pytest.mark.parametrize("engine", [Func(), Hooks(), BackPACK()], ids=label)
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_nothing_leaks_even_after_an_exception(at, train, engine):
    model = build(lambda: nn.Sequential(*batch_norm_net(), Failing(at)))
    model[3].eval()
    bound, before = bind(model), traces(model)
    buffers = [b.clone() for b in model.buffers()]
    state = torch.get_rng_state()
    needs = EmpiricalFisher(0.1, engine=engine).needs
    if at:
        with pytest.raises(RuntimeError, match="failed in forward"):
            geosam.observe(bound, needs, train)
    else:
        geosam.observe(bound, needs, train)
    assert traces(model) == before and torch.equal(torch.get_rng_state(), state)
    if not train:
        assert all(torch.equal(a, b) for a, b in zip(model.buffers(), buffers, strict=True))


def test_no_copy_is_kept():
    model, held = build(batch_norm_net), []
    problem = geosam.Problem(model, nn.CrossEntropyLoss(), frozen_statistics=True)
    for seed in (1, 2):
        bound = problem.on(draw(6, 4, seed=seed), labels(6))
        apart = frozen(bound, bound.parameters)
        assert all(a is b for a, b in zip(apart.model.parameters(), model.parameters(), strict=True))
        mean = F.linear(bound.x, model[0].weight, model[0].bias).mean(0)
        torch.testing.assert_close(apart.model[1].running_mean, mean.detach())
        assert model[1].training and not apart.model[1].training
        held.append((weakref.ref(apart.model), len(problem._memory)))
        del apart, bound
    assert [copy() for copy, _ in held] == [None, None] and held[0][1] == held[1][1]


def test_the_copy_follows_what_a_schedule_changes_and_what_is_replaced():
    norm, dropout = nn.BatchNorm1d(6), nn.Dropout(0.5)
    model = nn.Sequential(nn.Linear(4, 6), norm, dropout, nn.Linear(6, 3)).double()
    bound = bind(model)
    bound = geosam.Problem(model, bound.loss, frozen_statistics=True).on(bound.x.double(), bound.y)
    EmpiricalFisher(0.1).at(bound)
    dropout.p, norm.eps = 0.0, 0.5
    assert gap(dense(rows_of(geosam.observe(bound, EmpiricalFisher().needs))), rows_by_hand(bound)) < 1e-10
    model[0] = nn.Linear(4, 6).double()
    assert gap(dense(rows_of(geosam.observe(bound, EmpiricalFisher().needs))), rows_by_hand(bound)) < 1e-10
    model[1].eval()  # and now no samples meet
    assert frozen(bound, bound.parameters) is bound


def test_hooks_see_the_dropout_mask_of_the_statistics():
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)).double()
    bound = geosam.Problem(model, nn.CrossEntropyLoss(), frozen_statistics=True).on(draw(6, 4, dtype=torch.float64), labels(6))
    torch.manual_seed(3)
    state = torch.get_rng_state()
    seen = geosam.observe(bound, EmpiricalFisher(engine=Hooks()).needs)
    assert torch.equal(torch.get_rng_state(), state)
    assert gap(vec.flatten(list(seen.gradient)), gradient_by_hand(bound)) < 1e-10


def test_a_step_draws_one_mask_a_pass_from_the_global_stream():
    states = []
    for metric in (GradientMagnitude(), EmpiricalFisher(0.1, engine=Hooks())):
        model = build(lambda: nn.Sequential(*batch_norm_net(), nn.Dropout(0.5)))
        torch.manual_seed(3)
        geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric).step(bind(model))
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.norm(torch.tanh(self.norm(self.first(x))))))


class Ghost(nn.BatchNorm1d):
    """Normalises half a batch at a time in training mode."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super(Ghost, self).forward(part) for part in x.chunk(2)]) if self.training else super().forward(x)


@pytest.mark.parametrize(
    "make, why",
    [
        (lambda: vectors(nn.SyncBatchNorm), r"1 \(SyncBatchNorm\).*all processes"),
        (Twice, r"norm \(BatchNorm1d\) is called twice"),
        (lambda: vectors(Ghost), r"1 \(Ghost\) normalises"),
    ],
    ids=["SyncBatchNorm", "twice", "ghost"],
)
def test_what_cannot_be_frozen_is_refused_by_name(make, why):
    model = build(make)
    before = traces(model)
    with pytest.raises(ValueError, match=why):
        EmpiricalFisher(0.1).at(bind(model))
    assert traces(model) == before


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.spare = batch_norm_net(), nn.BatchNorm1d(2, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def test_a_layer_that_is_not_called_needs_no_statistics():
    norm = EmpiricalFisher(0.1).at(bind(build(Unused)))
    assert all(torch.isfinite(t).all() for t in norm.sharp([torch.ones_like(p) for p in norm.like]))


def test_labels_drawn_for_single_samples_need_rows():
    metric = Fisher(0.1, sampling=MonteCarlo(1), rows_limit=0)
    with pytest.raises(ValueError, match=r"rows exceed the limit.*Raise rows_limit"):
        metric.at(bind(build(batch_norm_net)))


@pytest.mark.parametrize("metric", [EmpiricalFisher(0.1), Fisher(0.1, sampling=MonteCarlo(1))], ids=repr)
def test_a_batch_that_is_not_finite_moves_nothing(metric):
    model = build(batch_norm_net)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric)
    bad = geosam.Problem(model, nn.CrossEntropyLoss(), frozen_statistics=True)
    with opt.perturbed(bad.on(draw(6, 4) * torch.inf, labels(6))) as p:
        assert not p.last.finite and all(not e.any() for e in p.epsilon)


def test_explain_speaks_of_the_copy():
    bound = bind(build(batch_norm_net))
    assert "1.weight, 1.bias" in bound.explain(EmpiricalFisher()) or "1.weight: rows" in bound.explain(EmpiricalFisher())
    assert bound.explain(Fisher(sampling=MonteCarlo(1))) == bound.explain(EmpiricalFisher())
    assert "samples meet" in bound.explain(Fisher())


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def test_a_deep_network_under_autocast_is_not_refused_for_what_its_layers_round():
    def deep() -> nn.Module:
        blocks = [Residual() for _ in range(24)]
        return nn.Sequential(
            nn.Conv2d(2, 6, 3), *blocks, nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
        )

    class Wide(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).float()

    model = build(lambda: Wide(deep()))
    bound = geosam.Problem(model, nn.CrossEntropyLoss(), frozen_statistics=True).on(draw(8, 2, 8, 8), labels(8))
    with torch.autocast("cpu", torch.bfloat16):
        rows = rows_of(geosam.observe(bound, EmpiricalFisher().needs))
    assert gap(dense(rows), dense(rows_of(geosam.observe(bound, EmpiricalFisher().needs)))) < 0.2
