"""curvlinops agrees: the generalised Gauss-Newton matrix, the empirical Fisher, the Monte Carlo Fisher of the same labels."""

import math
import warnings
from contextvars import ContextVar

import pytest
import torch
from torch import nn

from geosam import metrics
from geosam.metrics import DiagonalFisher, EmpiricalFisher, Fisher, MonteCarlo
from tests.fishers import WAYS, bind, closeness, dense

FLOAT64 = torch.float64


def curvature(kind, bound, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import curvlinops

        operator = getattr(curvlinops, kind)(
            bound.model, bound.loss, list(bound.parameters), [(bound.x, bound.y)], check_deterministic=False, **settings
        )
        return operator @ torch.eye(operator.shape[0], dtype=FLOAT64)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.MSELoss(), nn.BCEWithLogitsLoss()], ids=repr)
def test_curvlinops_agrees_that_it_is_the_generalised_gauss_newton_matrix(loss):
    bound = bind(loss)
    want = curvature("GGNLinearOperator", bound)
    assert closeness(dense(Fisher(1.0).at(bound), bound.parameters), want + torch.eye(51)) < 1e-9
    found = dense(DiagonalFisher(1.0).at(bound), bound.parameters)
    assert closeness(found, want.diagonal().diag() + torch.eye(51)) < 1e-9


@pytest.mark.parametrize(
    "loss, terms",
    [
        (nn.CrossEntropyLoss(), 1),
        (nn.CrossEntropyLoss(label_smoothing=0.1), 1),
        (nn.MSELoss(), 3),
        (nn.BCEWithLogitsLoss(), 3),
    ],
    ids=repr,
)
def test_curvlinops_agrees_on_the_empirical_fisher(loss, terms):
    bound = bind(loss)
    # of a loss that is a mean over a sample's terms it scales the sum's square by 1/terms, where gᵢ is the mean
    want = curvature("EFLinearOperator", bound) / terms
    assert closeness(dense(EmpiricalFisher(1.0).at(bound), bound.parameters), want + torch.eye(51)) < 1e-9
    found = dense(metrics.DiagonalEmpiricalFisher(1.0).at(bound), bound.parameters)
    assert closeness(found, want.diagonal().diag() + torch.eye(51)) < 1e-9


class Given(MonteCarlo):
    """Labels that somebody else drew, [K, n, ...]."""

    def _labels(self, distribution, device):
        return GIVEN.get()


GIVEN = ContextVar("labels")


def curvlinops_labels(loss, z, count, seed):
    """What its Monte Carlo Fisher draws, from a generator of this seed."""
    generator = torch.Generator(z.device).manual_seed(seed)
    if isinstance(loss, nn.CrossEntropyLoss):
        return z.softmax(1).multinomial(count, replacement=True, generator=generator).T
    if isinstance(loss, nn.BCEWithLogitsLoss):
        return z.sigmoid().expand(count, *z.shape).bernoulli(generator=generator).long()
    return z - torch.normal(torch.zeros(count, *z.shape, dtype=z.dtype), torch.tensor(math.sqrt(0.5)), generator=generator)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.MSELoss(), nn.BCEWithLogitsLoss()], ids=repr)
def test_curvlinops_agrees_on_the_monte_carlo_fisher_of_the_same_labels(loss):
    bound = bind(loss)
    want = curvature("FisherMCLinearOperator", bound, mc_samples=3, seed=7)
    with torch.no_grad():
        GIVEN.set(curvlinops_labels(loss, bound.model(bound.x), 3, 7))
    for way in WAYS[:2]:
        assert closeness(dense(Fisher(1.0, Given(3), **way).at(bound), bound.parameters), want + torch.eye(51)) < 1e-9
    found = dense(DiagonalFisher(1.0, Given(3)).at(bound), bound.parameters)
    assert closeness(found, want.diagonal().diag() + torch.eye(51)) < 1e-9
