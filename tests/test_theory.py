"""Where theory/ and geosam meet: neither imports the other, and they agree."""

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

import geosam
from geosam.norms import LowRank
from geosam.rows import Materialised
from theory import kl_expansion, push_through, sampling_identity

SEEDS = st.integers(0, 2**32 - 1)


class Softmax(torch.nn.Module):
    """theory's random softmax model as a torch module with one parameter vector."""

    def __init__(self, instance: kl_expansion.Instance) -> None:
        super().__init__()
        self.instance, self.theta = instance, torch.nn.Parameter(instance.theta.clone())

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        return self.instance.outputs(self.theta)[index]


def softmax_instance(seed: int) -> kl_expansion.Instance:
    for offset in range(100):
        drawn = kl_expansion.instance(seed + offset)
        if drawn.family is kl_expansion.Softmax:
            return drawn
    raise AssertionError("a hundred instances without a softmax")


def on_batch(instance: kl_expansion.Instance) -> geosam.problem.Bound:
    n = len(instance.inputs)
    return geosam.Problem(Softmax(instance), torch.nn.CrossEntropyLoss()).on(torch.arange(n), torch.zeros(n, dtype=torch.long))


@given(SEEDS)
def test_kl_is_half_the_fisher_quadratic_to_third_order(seed):
    instance = softmax_instance(seed)
    divergence = geosam.metrics.KLExact(along=geosam.metrics.Euclidean()).at(on_batch(instance))
    fisher, local = instance.fisher(), divergence.local_norm(0.0)
    size = (instance.direction @ fisher @ instance.direction).sqrt()
    if size < 1e-3:
        return
    v = instance.direction / size
    assert torch.allclose(local.flat([v])[0], fisher @ v, rtol=1e-9, atol=1e-11)
    # C: the third derivative of t ↦ KL(tv), by autograd through theory's own formula, over the whole interval
    ts = torch.linspace(0, 0.25, 26, dtype=torch.float64)
    third = torch.stack([_third(instance, v, t) for t in ts]).abs().max().item()
    for t in (0.25, 0.05, 0.01):
        kl = divergence([t * v]).item()
        assert math.isclose(kl, instance.kl(t * v).item(), rel_tol=1e-6, abs_tol=1e-14)
        assert abs(kl - t**2 / 2) <= 1.1 * third / 6 * t**3 + 1e-13


def _third(instance: kl_expansion.Instance, v: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    def kl(s: torch.Tensor) -> torch.Tensor:
        return instance.kl(s * v)

    return torch.func.grad(torch.func.grad(torch.func.grad(kl)))(t)


@given(SEEDS, st.sampled_from([1.0, 1e-2, 1e-4]))
def test_the_full_empirical_fisher_is_the_reweighted_gradient(seed, relative):
    instance = push_through.instance(seed)
    jacobian, damping = torch.as_tensor(instance.jacobian), relative * instance.scale
    rows = Materialised([jacobian])
    norm, gradient = LowRank(rows, damping), rows.pull(torch.full((len(jacobian),), 1 / len(jacobian), dtype=torch.float64))
    direction, dual = norm.ascend(gradient)
    expected = push_through.push_through(instance.jacobian, damping)
    assert np.allclose(direction[0].numpy(), expected, rtol=1e-8, atol=1e-10 * np.abs(expected).max())
    assert math.isclose(dual.item() ** 2, instance.jacobian.mean(0) @ expected, rel_tol=1e-8)


@given(SEEDS)
def test_undamped_the_empirical_fisher_raises_every_loss_by_rho(seed):
    instance = push_through.instance(seed)
    rows = Materialised([torch.as_tensor(instance.jacobian)])
    norm = LowRank(rows, 1e-13 * instance.scale)
    found = geosam.solve(norm, rows.pull(torch.full((rows.n,), 1 / rows.n, dtype=torch.float64)), rho=0.3)
    assert math.isclose(found.dual_norm.item(), 1.0, rel_tol=1e-6)
    assert torch.allclose(rows.apply(found.epsilon), torch.full((rows.n,), 0.3, dtype=torch.float64), rtol=1e-6)


@given(SEEDS)
def test_the_sampling_identity_holds_for_gradients_of_a_model(seed):
    """Khan et al., exhaustively, with gᵢ from a model: both schemes, each with its own α."""
    bound = small(seed)
    rows = geosam.engines.Func().rows(bound, bound.parameters)[1]
    assert isinstance(rows, Materialised)
    vectors = torch.cat(list(rows.jacobian), 1).numpy()[:, :6]
    mean, total = vectors.mean(0), vectors.T @ vectors / len(vectors)
    for replacement in (True, False):
        alpha = float(sampling_identity.alpha(len(vectors), 2, replacement))
        batches = sampling_identity.second_moment(vectors, 2, replacement)
        assert np.allclose(total, alpha * batches + (1 - alpha) * np.outer(mean, mean), atol=1e-12)


def small(seed: int) -> geosam.problem.Bound:
    generator = torch.Generator().manual_seed(seed)
    model = torch.nn.Linear(3, 3).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    return geosam.Problem(model, torch.nn.CrossEntropyLoss()).on(x, torch.randint(3, (5,), generator=generator))
