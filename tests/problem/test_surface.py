"""L(θ + ε) of losses that read more than the outputs, against the loss with the model itself moved."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam.core import vectors as vec
from geosam.observation import HessianProducts
from tests.networks import batch_norm_net, build, draw, labels, mlp

FLOAT64 = torch.float64
X, Y, MORE = draw(6, 4, dtype=FLOAT64), labels(6), draw(5, 4, seed=7, dtype=FLOAT64)


class Centres(nn.Module):
    """Owns parameters, and a buffer that every call moves."""

    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(draw(3, 3, seed=5))
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        self.mean.lerp_(outputs.detach().mean(0).float(), 0.5)
        return F.cross_entropy(outputs @ self.centres.T, y)


def penalty(model):
    return lambda z, y: F.cross_entropy(z, y) + 0.5 * sum(p.square().sum() for p in model.parameters())


def anchored(model):
    """EWC: by name, towards old values, over a flat vector."""
    old = nn.utils.parameters_to_vector(model.parameters()).detach() + 1
    return lambda z, y: F.cross_entropy(z, y) + (nn.utils.parameters_to_vector(model.parameters()) - old).square().mean()


def physics(model):
    def loss(z, y):
        x = MORE.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return F.cross_entropy(z, y) + slope.square().mean()

    return loss


def virtual(model):
    """VAT: what one step of ascent on the inputs does to the outputs."""

    def loss(z, y):
        r = torch.full_like(X, 0.1).requires_grad_()
        (r,) = torch.autograd.grad(model(X + r).square().sum(), r)
        return F.cross_entropy(z, y) + (model(X + 0.1 * r) - model(X).detach()).square().mean()

    return loss


def unseen(model):
    """Part of the value has no gradient."""
    return lambda z, y: F.cross_entropy(z, y) * (1 + next(model.parameters()).detach().square().sum())


def hidden(model):
    """The parameters are read inside a transform."""

    def loss(z, y):
        slopes = torch.func.grad(lambda held: sum(t.square().sum() for t in held.values()))(dict(model.named_parameters()))
        return F.cross_entropy(z, y) + sum(t.square().sum() for t in slopes.values())

    return loss


def stored(model):
    """The loss reads what the forward pass left in the model."""
    model.register_forward_hook(lambda module, args, out: setattr(module, "size", out.square().mean()))
    return lambda z, y: F.cross_entropy(z, y) + model.size


LOSSES = {"penalty": penalty, "anchored": anchored, "physics": physics, "virtual": virtual, "unseen": unseen}
LOSSES |= {"hidden": hidden, "stored": stored}
HELD: dict[str, Tensor] = {}


def moved(model: nn.Module, epsilon: list[Tensor]) -> None:
    with torch.no_grad():
        for p, e in zip(model.parameters(), epsilon, strict=True):
            p.add_(e)


@pytest.mark.parametrize("name", LOSSES)
def test_theta_plus_epsilon_reaches_all_of_the_loss(name):
    model = build(mlp, dtype=FLOAT64)
    loss, parameters = LOSSES[name](model), list(model.parameters())
    bound = geosam.Problem(model, loss).on(X, Y)
    seen = geosam.observe(bound, (HessianProducts(),))
    epsilon = [draw(*p.shape, seed=i, dtype=FLOAT64) * 0.1 for i, p in enumerate(parameters)]
    surface = bound.surface()
    rise, gradient = surface.rise(epsilon), surface.gradient(epsilon)
    product = seen[HessianProducts()](epsilon)
    start = loss(model(X), Y)
    slope = torch.autograd.grad(start, parameters, create_graph=True)
    curved = torch.autograd.grad(slope, parameters, epsilon)
    torch.testing.assert_close(list(seen.gradient), list(slope))
    torch.testing.assert_close(product, list(curved))
    moved(model, epsilon)
    there = loss(model(X), Y)
    assert rise == pytest.approx((there - start).item(), rel=1e-9)
    torch.testing.assert_close(gradient, list(torch.autograd.grad(there, parameters)))


def test_parameters_that_a_transform_hides_are_refused():
    model = build(mlp, dtype=FLOAT64)

    def loss(z, y):
        slopes = torch.func.grad(lambda held: sum(t.square().sum() for t in held.values()))(HELD)
        return F.cross_entropy(z, y) + sum(t.square().sum() for t in slopes.values())

    HELD.update(model.named_parameters())
    with pytest.raises(ValueError, match=r"other values cannot reach.*plain operations"):
        geosam.Problem(model, loss).on(X, Y).surface()


@pytest.mark.parametrize("dtype", [torch.float32, FLOAT64])
def test_the_loss_is_taken_in_float64_whatever_it_holds(dtype):
    model, weight = build(mlp, dtype=dtype), torch.tensor([1.0, 2.0, 3.0])
    x = X.to(dtype)
    wide = F.cross_entropy(model(x).double(), Y, weight=weight.double()).item()
    for loss in (nn.CrossEntropyLoss(weight=weight), lambda z, y: F.cross_entropy(z, y, weight=weight)):
        surface = geosam.Problem(model, loss).on(x, Y).surface()
        assert surface.loss(vec.zeros_like(surface.theta)).item() == pytest.approx(wide, rel=1e-14)


def test_a_look_changes_no_buffer_of_model_or_loss():
    model, centres = build(batch_norm_net), Centres()
    x = X.float()

    def loss(z, y):
        return centres(z, y) + model(MORE.float()).square().mean()

    for bound in (geosam.Problem(model, loss).on(x, Y), geosam.Problem(build(mlp), centres).on(x, Y)):
        buffers = [*bound.model.buffers(), *([] if bound.loss is loss else centres.buffers())]
        kept = [b.clone() for b in buffers]
        geosam.compare(bound, [geosam.metrics.Euclidean()], rho=0.1)
        geosam.sharpness(bound, geosam.metrics.Euclidean(), 0.1, samples=2, steps=2, iterations=2)
        assert all(torch.equal(b, k) for b, k in zip(buffers, kept, strict=True))


class Turned(nn.Module):
    """Computes with a complex view of a real parameter, behind an odd number of others."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.turn = nn.Parameter(draw(1, dtype=FLOAT64)), nn.Parameter(draw(3, 2, seed=2, dtype=FLOAT64))

    def forward(self, x: Tensor) -> Tensor:
        turned: Tensor = torch.fft.irfft(torch.fft.rfft(self.scale * x) * torch.view_as_complex(self.turn), n=4)
        return turned


def test_products_take_vectors_that_are_views_at_an_odd_place():
    bound = geosam.Problem(Turned(), nn.MSELoss()).on(X, draw(6, 4, seed=3, dtype=FLOAT64))
    flat = draw(7, seed=4, dtype=FLOAT64)
    product = bound.surface().hessian()
    views = product([flat[:1], flat[1:].view(3, 2)])
    own = product([flat[:1].clone(), flat[1:].view(3, 2).clone()])
    assert all(torch.equal(a, b) for a, b in zip(views, own, strict=True))


def test_hooks_that_mask_gradients_act_at_every_point():
    """Of several steps of ascent the later ones moved what a hook holds still."""
    model = build(mlp, dtype=FLOAT64)
    first, *_ = model.parameters()
    first.register_hook(lambda g: g * (torch.arange(g.numel()).view_as(g) % 2))
    found = geosam.ascend(geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y), geosam.metrics.Euclidean(), 0.1, steps=3)
    assert not found.epsilon[0].flatten()[::2].any() and found.epsilon[0].any()
