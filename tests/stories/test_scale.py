"""What a factor on the loss, and the cutting of the batch, do to each Fisher: to the true one, the model's own, nothing."""

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam.engines import Func, Hooks
from geosam.metrics import (
    BlockDiagonal,
    DiagonalEmpiricalFisher,
    DiagonalFisher,
    Empirical,
    EmpiricalFisher,
    Exact,
    Fisher,
    KroneckerFisher,
    MonteCarlo,
    Relative,
)
from geosam.problem.likelihoods import categorical
from tests.fishers import FLOAT64, closeness, dense, epsilon, flat
from tests.networks import build, draw, labels, mlp
from tests.placement import device

X, Y = draw(8, 4, dtype=FLOAT64), labels(8)


def seeded():
    return MonteCarlo(2, torch.Generator(device()).manual_seed(1))


FAMILY = {
    "Gram": lambda: Fisher(0.1),
    "matrix-free": lambda: Fisher(0.1, rows_limit=0),
    "Monte Carlo": lambda: Fisher(0.1, seeded()),
    "diagonal": lambda: DiagonalFisher(0.1),
    "diagonal, Monte Carlo": lambda: DiagonalFisher(0.1, seeded()),
    "blocks": lambda: BlockDiagonal(Fisher(Relative(0.1))),
    "Kronecker": lambda: KroneckerFisher(0.1),
    "Kronecker, Monte Carlo": lambda: KroneckerFisher(Relative(0.1), seeded()),
}
EACH = pytest.mark.parametrize("name", FAMILY)
EMPIRICAL = {
    "empirical": EmpiricalFisher,
    "diagonal, empirical": DiagonalEmpiricalFisher,
    "Kronecker, empirical": lambda damping: KroneckerFisher(damping, Empirical()),
}
EACH_EMPIRICAL = pytest.mark.parametrize("name", EMPIRICAL)


def bind(loss, x=X, y=Y, likelihood=None):
    return geosam.Problem(build(mlp, dtype=FLOAT64), loss, likelihood).on(x, y)


def matrix(name, bound):
    """G; of the empirical Fishers F, the undamped one."""
    if name in EMPIRICAL:
        found = dense(EMPIRICAL[name](1.0).at(bound), bound.parameters)
        return found - torch.eye(len(found))
    return dense(FAMILY[name]().at(bound), bound.parameters)


@functools.cache
def plain_matrix(name):
    """Of cross-entropy on the whole batch."""
    return matrix(name, bind(nn.CrossEntropyLoss()))


def times(factor):
    return lambda z, y: factor * F.cross_entropy(z, y)


@EACH
def test_smoothing_weights_and_the_form_of_the_loss_are_not_the_model_s(name):
    losses = [
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2], dtype=FLOAT64), label_smoothing=0.3),
        functools.partial(F.cross_entropy, label_smoothing=0.2),
    ]
    for loss in losses:
        assert torch.equal(matrix(name, bind(loss)), plain_matrix(name))


@EACH
def test_targets_are_not_the_model_s(name):
    """Not even those that the loss ignores."""
    y = (1 - Y.clamp_max(1)).index_fill(0, torch.tensor([3]), -100)
    assert torch.equal(matrix(name, bind(nn.CrossEntropyLoss(), y=y)), plain_matrix(name))


@EACH
@pytest.mark.parametrize("factor", [2.0**16, 2.0**-40])
def test_a_factor_on_the_loss_changes_neither_matrix_nor_perturbation(name, factor):
    """What a GradScaler multiplies by. A bound problem takes no scaler; a loss that carries the factor is the same question."""

    plain, scaled = (bind(loss, likelihood=categorical) for loss in (F.cross_entropy, times(factor)))
    assert torch.equal(plain_matrix(name), matrix(name, scaled))
    assert closeness(epsilon(FAMILY[name](), scaled), epsilon(FAMILY[name](), plain)) < 1e-9


@EACH_EMPIRICAL
@pytest.mark.parametrize("factor", [2.0**-8, 3.0])
def test_a_factor_on_the_loss_enters_the_empirical_fisher_squared(name, factor):
    """So that under relative damping ε* keeps its direction, and its length is divided: the ball is that of the norm."""
    plain, scaled = (bind(loss, likelihood=categorical) for loss in (F.cross_entropy, times(factor)))
    assert closeness(matrix(name, scaled) / factor**2, matrix(name, plain)) < 1e-11 / min(1.0, factor**2)
    metric = EMPIRICAL[name](Relative(0.1))
    assert closeness(factor * epsilon(metric, scaled), epsilon(metric, plain)) < 1e-11


@EACH_EMPIRICAL
@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_a_factor_of_every_scale_in_float32(name, factor):
    metric, found = EMPIRICAL[name](Relative(0.1)), []
    for loss in (F.cross_entropy, times(factor)):
        found.append(epsilon(metric, geosam.Problem(build(mlp), loss, categorical).on(X.float(), Y)))
    assert closeness(factor * found[1], found[0]) < 1e-3


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_a_sum_is_refused_before_anything_is_computed(reduction):
    with pytest.raises(ValueError, match="reduction"):
        bind(nn.CrossEntropyLoss(reduction=reduction))


@pytest.mark.parametrize("metric", [Fisher, DiagonalFisher])
@pytest.mark.parametrize("sampling", [Exact, seeded])
def test_chunks_of_samples_are_the_batch(metric, sampling):
    bound = bind(nn.CrossEntropyLoss())
    want = dense(metric(0.1, sampling(), engine=Hooks()).at(bound), bound.parameters)
    for size in (1, 3, 100):
        found = dense(metric(0.1, sampling(), engine=Func(chunk_size=size)).at(bound), bound.parameters)
        assert closeness(found, want) < 1e-13


@pytest.mark.parametrize("metric", [EmpiricalFisher, DiagonalEmpiricalFisher])
def test_chunks_of_samples_are_the_batch_for_the_data_s_labels_too(metric):
    bound = bind(nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2], dtype=FLOAT64)))
    want = dense(metric(0.1, engine=Hooks()).at(bound), bound.parameters)
    for size in (1, 3, 100):
        assert closeness(dense(metric(0.1, engine=Func(chunk_size=size)).at(bound), bound.parameters), want) < 1e-13


@pytest.mark.parametrize("name", ["Gram", "matrix-free", "diagonal", "empirical", "diagonal, empirical"])
def test_the_matrix_of_a_batch_is_the_mean_of_its_parts_matrices(name):
    """Accumulation over parts of 2, 5 and 1 samples."""
    parts = 0.0
    for x, y in zip(X.split([2, 5, 1]), Y.split([2, 5, 1]), strict=True):
        parts = parts + len(x) / 8 * matrix(name, bind(nn.CrossEntropyLoss(), x, y))
    assert closeness(parts, plain_matrix(name)) < 1e-12


@pytest.mark.parametrize("name", [name for name in (*FAMILY, *EMPIRICAL) if "Monte" not in name])
def test_a_batch_given_twice_is_the_batch(name):
    """Other labels would be drawn for the second copy."""
    twice = bind(nn.CrossEntropyLoss(), torch.cat([X, X]), torch.cat([Y, Y]))
    assert closeness(matrix(name, twice), plain_matrix(name)) < 1e-12


@EACH
@pytest.mark.parametrize("scale", [1e-25, 1e18])
def test_gradients_of_every_scale_in_float32(name, scale):
    """The loss carries the scale, so that c has it and the model's Fisher does not; ε* is that of scale 1."""

    found = []
    for loss in (F.cross_entropy, times(scale)):
        model = build(mlp)
        bound = geosam.Problem(model, loss, categorical).on(X.float(), Y)
        found.append(epsilon(FAMILY[name](), bound))
    assert closeness(found[1], found[0]) < 1e-3


@pytest.mark.parametrize("name", ["Gram", "diagonal", "blocks"])
@pytest.mark.parametrize("scale", [1e-20, 1e15])
def test_models_of_every_scale_in_float32(name, scale):
    """Inputs times s and first weights over s: rows of the first layer scale with s, and relative damping with s²."""
    metric = {"Gram": Fisher(), "diagonal": DiagonalFisher(), "blocks": BlockDiagonal(Fisher())}[name]
    found = []
    for dtype in (torch.float32, FLOAT64):
        model = build(mlp).to(dtype)
        with torch.no_grad():
            model[0].weight.div_(scale)
        bound = geosam.Problem(model, nn.CrossEntropyLoss()).on((X.float() * scale).to(dtype), Y)
        found.append(epsilon(metric, bound))
    assert closeness(*found) < 1e-3


@EACH
def test_a_gradient_of_zero_gives_no_perturbation(name):
    model = build(mlp)
    bound = geosam.Problem(model, lambda z, y: 0.0 * F.cross_entropy(z, y), categorical).on(X.float(), Y)
    metric = FAMILY[name]()
    seen = geosam.observe(bound, metric.needs)
    found = geosam.solve(metric.at(seen), seen.gradient, 0.1)
    assert found.finite and found.dual_norm == 0 and (flat(found.epsilon) == 0).all()
