"""Hessian-vector products at θ, against the dense matrix in float64."""

import pytest
import torch
from torch import nn

import geosam
from geosam.core import vectors as vec
from geosam.observation import HessianProducts
from tests.networks import build, draw, labels, mlp

FLOAT64 = torch.float64


def bind():
    return geosam.Problem(build(mlp, dtype=FLOAT64), nn.CrossEntropyLoss()).on(draw(6, 4, dtype=FLOAT64), labels(6))


def flat(v):
    return torch.cat([t.reshape(-1) for t in v])


def dense(bound):
    theta, call = bound.parameters, bound.pure(bound.parameters)

    def loss(point):
        return bound.loss(call(vec.unflatten(point, theta), bound.x), bound.y)

    return torch.autograd.functional.hessian(loss, flat([p.detach() for p in theta]))


def test_a_block_is_that_of_the_dense_matrix():
    bound, index = bind(), [2, 1]
    hessian, sizes = dense(bound), [p.numel() for p in bound.parameters]
    places = torch.cat([torch.arange(sum(sizes[:i]), sum(sizes[: i + 1])) for i in index])
    seen = geosam.observe(bound, (HessianProducts(),)).restrict(index)
    v = [draw(*p.shape, seed=i, dtype=FLOAT64) for i, p in enumerate(seen.parameters)]
    torch.testing.assert_close(flat(seen[HessianProducts()](v)), hessian[places][:, places] @ flat(v))


def test_nothing_is_computed_before_the_first_product():
    bound, calls = bind(), []
    geosam.observe(bound)  # the first one also finds out what does not depend on θ
    bound.model.register_forward_pre_hook(lambda *_: calls.append(1))
    seen = geosam.observe(bound, (HessianProducts(),))
    assert len(calls) == 1
    for _ in range(3):
        seen[HessianProducts()](list(seen.parameters))
    assert len(calls) == 2


@pytest.mark.parametrize("overwritten", ["x", "y", "another parameter"])
def test_what_was_overwritten_is_not_differentiated(overwritten):
    bound = bind()
    bound = bound.wrt(list(bound.parameters)[1:])
    seen = geosam.observe(bound, (HessianProducts(),))
    with torch.no_grad():
        {"x": bound.x, "y": bound.y, "another parameter": bound.model[0].weight}[overwritten].add_(0)
    with pytest.raises(RuntimeError, match="were overwritten"):
        seen[HessianProducts()](list(seen.parameters))


def test_parameters_that_moved_since_do_not_matter():
    bound = bind()
    seen, matrix = geosam.observe(bound, (HessianProducts(),)), dense(bound)
    with torch.no_grad():
        for p in bound.parameters:
            p.mul_(2)
    v = [draw(*p.shape, dtype=FLOAT64) for p in seen.parameters]
    torch.testing.assert_close(flat(seen[HessianProducts()](v)), matrix @ flat(v))


def test_a_product_that_is_not_symmetric_is_refused():
    """torch's kernel of weight norm has a wrong second derivative on a CPU: Eigen's covector was 18 % off."""
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.Tanh(), nn.Linear(4, 3)).to(FLOAT64)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4, dtype=FLOAT64), labels(6))
    with pytest.raises(ValueError, match=r"H is not symmetric.*derives some operation wrongly the second time"):
        geosam.objectives.Eigen().at(bound)
