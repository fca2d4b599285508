"""KFAC where samples meet, in some batches or all, and where they only change places."""

import pytest
import torch
from torch import nn

import geosam
from geosam.metrics import KroneckerFisher
from tests.fishers import FLOAT64, closeness, dense
from tests.networks import build, draw, labels, mlp


class Inner(nn.Module):
    """A perceptron with something between its layers."""

    def __init__(self, between):
        super().__init__()
        self.first, self.last, self.between = nn.Linear(4, 6), nn.Linear(6, 3), between

    def forward(self, x):
        return self.last(torch.tanh(self.between(self.first(x))))


def problem(between):
    return geosam.Problem(build(lambda: Inner(between), dtype=FLOAT64), nn.CrossEntropyLoss())


def minus_the_mean_of_large_ones(h):
    large = (h[:, :1] > 1).to(h)
    return h - large * (large * h).sum(0) / large.sum().clamp_min(1)


def test_scores_of_samples_that_meet_are_refused():
    with pytest.raises(ValueError, match="behind first the model lets samples meet"):
        KroneckerFisher().at(problem(lambda h: h - h.mean(0)).on(draw(6, 4, dtype=FLOAT64), labels(6)))


def test_samples_that_meet_in_a_later_batch_are_refused_then():
    some = problem(minus_the_mean_of_large_ones)
    KroneckerFisher().at(some.on(torch.zeros(6, 4, dtype=FLOAT64), labels(6)))
    with pytest.raises(ValueError, match="behind first the model lets samples meet"):
        KroneckerFisher().at(some.on(9 * draw(6, 4, dtype=FLOAT64), labels(6)))


@pytest.mark.parametrize("most", [1e-3, 0.5])
def test_a_hook_that_clips_scores_is_refused(most):
    def clipped(h):
        if h.requires_grad:
            h.register_hook(lambda g: g.clamp(-most, most))
        return h

    with pytest.raises(ValueError, match="a hook changes gradients otherwise than by a factor"):
        KroneckerFisher().at(problem(clipped).on(draw(6, 4, dtype=FLOAT64), labels(6)))


def test_samples_that_change_places_are_not_refused():
    x, y = draw(6, 4, dtype=FLOAT64), labels(6)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    model = Inner(lambda h: h)

    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            return self.inner(x[order])[order.argsort()]

    model.double()
    plain, turned = (geosam.Problem(m, nn.CrossEntropyLoss()).on(x, y) for m in (model, Turned()))
    found, want = (dense(KroneckerFisher(0.1).at(b), b.parameters) for b in (turned, plain))
    assert closeness(found, want) < 1e-12


def test_a_layer_that_the_forward_pass_differentiates_is_not_covered():
    class Slope(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp()

        def forward(self, x):
            x = x.detach().requires_grad_()
            u = self.body(x)
            return u + torch.autograd.grad(u.sum(), x, create_graph=True)[0][:, :3]

    bound = geosam.Problem(build(Slope, dtype=FLOAT64), nn.CrossEntropyLoss()).on(draw(6, 4, dtype=FLOAT64), labels(6))
    with pytest.raises(ValueError, match=r"body.0.bias .in a layer that the forward pass itself differentiates"):
        KroneckerFisher().at(bound)
