"""Every label: cotangents whose squares add up to the expectation, and what their span knows of the loss's slope."""

import pytest
import torch
from torch.nn import functional as F

from geosam.metrics import Exact
from geosam.problem.likelihoods import categorical, mean_kl
from tests.fishers import LIKELIHOODS, closeness
from tests.networks import draw

FLOAT64 = torch.float64


@pytest.mark.parametrize("shape", [(5, 3, 4), (5, 3, 2, 2)])
def test_classes_at_every_place_are_averaged_over(shape):
    z = draw(*shape, dtype=FLOAT64)
    u = Exact().cotangents(categorical, z).flatten(2)
    moved = z.clone().requires_grad_()
    kl = lambda w: mean_kl(categorical(w), categorical(z))  # noqa: E731
    hessian = torch.autograd.functional.hessian(kl, moved).reshape(5, u.shape[2], 5, u.shape[2])
    for i in range(5):
        assert closeness(u[:, i].T @ u[:, i] / (len(u) * 5), hessian[i, :, i]) < 1e-9


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_loss_s_slope_is_told_in_the_rows_where_it_lies_in_their_span(name):
    likelihood, z = LIKELIHOODS[name], draw(5, 3, dtype=FLOAT64)
    u = Exact().cotangents(likelihood, z)
    slopes = torch.einsum("kn,kne->ne", draw(3, 5, seed=9, dtype=FLOAT64), u)
    told = Exact().coordinates(likelihood, z, u, slopes)
    assert told is not None
    alpha, spanned = told
    assert spanned.all() and closeness(torch.einsum("kn,kne->ne", alpha, u), slopes) < 1e-12
    if name in ("softmax", "tempered"):
        assert Exact().coordinates(likelihood, z, u, torch.ones_like(z)) is None  # a constant added to the logits is no news


def test_a_label_that_the_model_thinks_all_but_impossible_is_still_in_the_span():
    z = torch.tensor([[0.0, -60.0, -200.0]], dtype=FLOAT64)
    for k, span in ((1, True), (2, False)):  # e⁻¹⁰⁰ has no float32
        slopes = z.softmax(1) - F.one_hot(torch.tensor([k]), 3)
        assert (
            Exact().coordinates(categorical, z.float(), Exact().cotangents(categorical, z.float()), slopes) is not None
        ) == span
