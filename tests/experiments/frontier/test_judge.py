"""The judge against dense float64 algebra."""

import pytest
import torch

import geosam
from experiments.data.digits import digits
from experiments.frontier.judge import LOSS, Judge, flat
from experiments.frontier.magnitude import RelativeMagnitude
from experiments.frontier.methods import SHARED
from experiments.networks.digit_mlp import digit_mlp
from geosam import Relative


def _dense(seed, width=3, n=6):
    """(judge, F, g) with F by the outputs' Jacobian, sample by sample."""
    model = digit_mlp(width, seed)
    split = digits(64, 0.3)
    x, y = split.x[:n], split.y[:n]
    wide = digit_mlp(width, seed).double()
    parameters = list(wide.parameters())

    def derivative(value):
        return torch.cat([t.flatten() for t in torch.autograd.grad(value, parameters, retain_graph=True)])

    outputs = wide(x.double())
    J = torch.stack([torch.stack([derivative(z) for z in row]) for row in outputs])
    p = outputs.detach().softmax(1)
    H = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    return model, (x, y), torch.einsum("nap,nab,nbq->pq", J, H, J) / n, derivative(LOSS(outputs, y)), p[range(n), y]


def test_the_judge_is_dense_algebra():
    model, batch, F, g, probable = _dense(1)
    judge = Judge.of(model, batch, 1e-8)
    assert torch.allclose(judge.gradient, g, rtol=1e-9, atol=1e-12)
    assert judge.dual_norm == pytest.approx((g @ torch.linalg.pinv(F, rtol=1e-10, hermitian=True) @ g).sqrt().item(), rel=1e-4)
    assert judge.dual_norm**2 == pytest.approx((1 / probable - 1).mean().item(), rel=1e-4), (
        "independent rows: the χ² of the labels"
    )
    shared = torch.linalg.solve(F + SHARED.ratio * F.trace() / len(g) * torch.eye(len(g), dtype=F.dtype), g)
    assert judge.cosine(3 * shared) == pytest.approx(1, abs=1e-9)
    assert judge.cosine(g) == pytest.approx((g @ shared / (g.norm() * shared.norm())).item(), rel=1e-6)
    assert judge.local(g) == pytest.approx((g @ g / (judge.dual_norm * (g @ F @ g).sqrt())).item(), rel=1e-6)


def test_efficiency_tends_to_the_local_one():
    model, batch, _, g, _ = _dense(0)
    judge = Judge.of(model, batch, 1e-8)
    for epsilon in (g, judge.direction):
        assert judge.efficiency(epsilon, 1e-12) == pytest.approx(judge.local(epsilon), rel=2e-3)
        again = judge.efficiency(1e3 * epsilon, 1e-8)
        assert again == pytest.approx(judge.efficiency(epsilon, 1e-8), rel=2e-3)
    assert judge.efficiency(0 * g, 1e-6) is None
    assert judge.efficiency(g, 1e6) is None, "no ray has this KL"


def test_relative_magnitude_is_the_inverse_of_damped_squares():
    model, batch, _, g, _ = _dense(0)
    bound = geosam.Problem(model.double(), LOSS).on(batch[0].double(), batch[1])
    found = flat(RelativeMagnitude(Relative(0.5)).at(bound).sharp(geosam.observe(bound).gradient))
    assert torch.allclose(found, g / (g**2 + 0.5 * (g**2).mean()), rtol=1e-9)
