"""Several steps of ascent on a bound problem, with nothing changed."""

import pytest
import torch
from torch import nn

import geosam
from geosam import metrics
from geosam.measure.ascend import ascend
from tests.networks import build, clones, draw, dropout_net, labels, mlp, same

RHO = 0.3
X, Y = draw(6, 4, dtype=torch.float64), labels(6)


class TestAscend:
    """On a bound problem, with nothing changed."""

    @pytest.mark.parametrize("metric", [metrics.Euclidean(), metrics.EmpiricalFisher(0.1), metrics.ParameterScaled()], ids=repr)
    def test_one_step_is_solve_and_more_rise_more(self, metric):
        model = build(mlp, dtype=torch.float64)
        bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
        values, rng = clones(model), torch.get_rng_state()
        seen = geosam.observe(bound, metric.needs)
        closed = geosam.solve(metric.at(seen), seen.gradient, RHO)
        assert same(ascend(bound, metric, RHO).epsilon, closed.epsilon)
        rises = [bound.surface(values).rise(ascend(bound, metric, RHO, k).epsilon) for k in (1, 2, 5)]
        assert rises == sorted(rises)
        assert same(clones(model), values) and torch.equal(torch.get_rng_state(), rng)
        assert all(p.grad is None for p in model.parameters())

    def test_dropout_draws_one_mask_for_all_steps(self):
        model = build(dropout_net, dtype=torch.float64)
        bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
        first, second = (ascend(bound, metrics.Euclidean(), 1e-9, 3).epsilon for _ in range(2))
        assert same(first, second)
        # so close to θ every step sees the same gradient, if the mask is the same
        torch.testing.assert_close(first, ascend(bound, metrics.Euclidean(), 1e-9).epsilon, rtol=1e-6, atol=1e-15)

    def test_a_closure_is_refused(self):
        with pytest.raises(TypeError, match="Bound"):
            ascend(lambda: None, metrics.Euclidean(), RHO)
