"""Bad settings of the optimizer: a clear error that names cause and cure, and nothing changed."""

import math

import pytest
import torch
from torch import nn

import geosam
from geosam import SAM
from geosam.metrics import (
    EmpiricalFisher,
    Euclidean,
)
from geosam.objectives import Smoothed
from tests.networks import build, mlp
from tests.refusals import closure, problem, sgd


class TestRho:
    @pytest.mark.parametrize("rho", [-0.1, math.nan, math.inf, -math.inf])
    def test_not_a_radius(self, rho):
        with pytest.raises(ValueError, match=r"rho must be finite and not negative, got .*rho = 0"):
            SAM(sgd(build(mlp)), rho=rho)

    @pytest.mark.parametrize("rho", ["0.1", None, True, torch.ones(2), [0.1], 1j])
    def test_not_a_number(self, rho):
        with pytest.raises(TypeError, match="rho must be a number"):
            SAM(sgd(build(mlp)), rho=rho)

    @pytest.mark.parametrize("rho", [-0.1, math.nan])
    def test_of_a_group(self, rho):
        base = torch.optim.SGD([{"params": build(mlp).parameters(), "rho": rho}], lr=0.1)
        with pytest.raises(ValueError, match="rho must be finite"):
            SAM(base)

    @pytest.mark.parametrize("rho", [-0.1, math.nan])
    def test_set_later(self, rho):
        model = build(mlp)
        opt = SAM(sgd(model))
        opt.param_groups[0]["rho"] = rho
        before = [p.detach().clone() for p in model.parameters()]
        with pytest.raises(ValueError, match="rho must be finite"):
            opt.step(closure(model))
        assert all(torch.equal(p, v) for p, v in zip(model.parameters(), before, strict=True))

    @pytest.mark.parametrize("rho", [-1.0, math.nan])
    def test_in_solve(self, rho):
        with pytest.raises(ValueError, match="rho must be finite"):
            geosam.solve(geosam.norms.Identity(), [torch.ones(2)], rho)


class TestConstruction:
    @pytest.mark.parametrize("base", [torch.optim.SGD, None, "SGD", [torch.zeros(2)], build(mlp)])
    def test_base_is_no_optimizer(self, base):
        with pytest.raises(TypeError, match=r"base must be a torch optimizer.*torch\.optim\.SGD"):
            SAM(base)

    def test_base_is_sam(self):
        with pytest.raises(TypeError, match="base must be a torch optimizer"):
            SAM(SAM(sgd(build(mlp))))

    @pytest.mark.parametrize("metric", [Euclidean, "euclidean", nn.CrossEntropyLoss(), Smoothed()])
    def test_metric_is_no_instance(self, metric):
        with pytest.raises(TypeError, match="must be an instance"):
            SAM(sgd(build(mlp)), metric)

    def test_objective_is_no_instance(self):
        with pytest.raises(TypeError, match="must be an instance"):
            SAM(sgd(build(mlp)), objective=Smoothed)

    def test_move_is_no_instance(self):
        with pytest.raises(TypeError, match="instance"):
            SAM(sgd(build(mlp)), move=geosam.Copy)

    def test_solver_is_no_instance(self):
        with pytest.raises(TypeError, match="instance"):
            SAM(sgd(build(mlp)), solver=geosam.solvers.Radial)

    def test_nothing_to_perturb(self):
        model = build(mlp)
        base = sgd(model)
        model.requires_grad_(False)
        with pytest.raises(ValueError, match="no parameter that requires a gradient"):
            SAM(base)

    def test_an_empty_list_of_tensors_or_parameters(self):
        with pytest.raises(ValueError, match="nothing to perturb"):
            geosam.solve(geosam.norms.Identity(), [], 0.1)
        with pytest.raises(ValueError, match="nothing to perturb"):
            EmpiricalFisher().at(problem(build(mlp).requires_grad_(False)))

    def test_a_failed_construction_leaves_the_base_usable(self):
        model = build(mlp)
        base = sgd(model)
        with pytest.raises(ValueError, match="rho"):
            SAM(base, rho=-1)
        before = model[0].weight.detach().clone()
        base.step(closure(model))
        assert not torch.equal(model[0].weight, before)
