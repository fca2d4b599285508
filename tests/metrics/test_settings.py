"""Bad settings of metrics: a clear error that names cause and cure, and nothing changed."""

import math

import pytest
import torch
from torch import nn

import geosam
from geosam import SAM
from geosam.metrics import (
    Blockwise,
    DiagonalEmpiricalFisher,
    EmpiricalFisher,
    Euclidean,
    Fisher,
    GradientMagnitude,
    KLExact,
    Monge,
    ParameterScaled,
    Relative,
)
from geosam.objectives import Smoothed
from tests.networks import build, draw, mlp
from tests.refusals import closure, dead, problem, refused, sgd


class TestDamping:
    KINDS = (EmpiricalFisher, DiagonalEmpiricalFisher, Fisher, lambda d: GradientMagnitude(damping=d))

    @pytest.mark.parametrize("metric", [*KINDS, Relative])
    @pytest.mark.parametrize("damping", [-1e-3, math.nan, math.inf])
    def test_not_a_damping(self, metric, damping):
        with pytest.raises(ValueError, match="damping must be finite and not negative"):
            metric(damping)

    @pytest.mark.parametrize("metric", [*KINDS, Relative])
    @pytest.mark.parametrize("damping", [True, "0.1", None])
    def test_not_a_number(self, metric, damping):
        with pytest.raises(TypeError, match=r"damping must be a number"):
            metric(damping)

    @pytest.mark.parametrize(
        "metric", [EmpiricalFisher, DiagonalEmpiricalFisher, Fisher, lambda d: GradientMagnitude(damping=d)]
    )
    @pytest.mark.parametrize("damping", [0, 0.0])
    def test_zero_where_the_metric_is_singular(self, metric, damping):
        refused(ValueError, r"damping.*(singular|> 0)", metric(damping), problem, model=dead())

    @pytest.mark.parametrize("metric", [EmpiricalFisher, DiagonalEmpiricalFisher, Fisher])
    def test_a_ratio_of_zero_is_zero_damping(self, metric):
        bound = problem(dead())
        with pytest.raises(ValueError, match=r"(damping|ratio).*(singular|> 0)"):
            geosam.solve(metric(Relative(0.0)).at(bound), [torch.ones_like(p) for p in bound.parameters], 0.1)

    def test_zero_is_accepted_where_the_metric_is_regular(self):
        model = nn.Linear(2, 1, bias=False)
        bound = geosam.Problem(model, nn.MSELoss()).on(draw(6, 2), draw(6, 1))
        for metric in (EmpiricalFisher(0.0), DiagonalEmpiricalFisher(0.0), Fisher(0.0), GradientMagnitude(damping=0.0)):
            norm = metric.at(bound)
            pert = geosam.solve(norm, geosam.observe(bound, metric.needs).gradient, 0.1)
            assert norm.norm(pert.epsilon).item() == pytest.approx(0.1, rel=1e-4)

    @pytest.mark.parametrize("eta", [-1.0, math.nan])
    @pytest.mark.parametrize("metric", [GradientMagnitude, ParameterScaled])
    def test_eta(self, metric, eta):
        with pytest.raises(ValueError, match="eta must be finite and not negative"):
            metric(eta)

    @pytest.mark.parametrize("decay", [-0.1, 1.0, math.nan])
    def test_decay(self, decay):
        with pytest.raises(ValueError, match="decay"):
            Smoothed(decay)


class TestBlockwise:
    def test_a_parameter_that_nothing_selects(self):
        metric = Blockwise({"*.weight": (Euclidean(), 1.0)})
        refused(ValueError, r"no selector matches parameter 1 \(0\.bias\).*'\*'", metric, problem)

    def test_patterns_without_names(self):
        refused(ValueError, r"names.*named_parameters\(\).*function", Blockwise({"*": (Euclidean(), 1.0)}), closure)

    @pytest.mark.parametrize(
        "metric",
        [
            geosam.metrics.only("norm.*"),
            geosam.metrics.only("norm.*", EmpiricalFisher()),
            Blockwise({"norm.*": (Euclidean(), 1.0), "*": (Monge(), 1.0)}),
            Blockwise({"*": (Monge(), 1.0), "norm.*": (Euclidean(), 1.0)}, math.inf),
            Blockwise({"*": (geosam.metrics.only("norm.*"), 1.0)}),
        ],
        ids=lambda metric: repr(list(metric.parts))[:30],
    )
    def test_a_selector_that_fits_nothing(self, metric):
        refused(ValueError, r"'norm\.\*' matches none of the 4 parameters, which are 0\.weight, 0\.bias, 2\.w", metric, problem)

    def test_a_function_that_selects_nothing(self):
        metric = geosam.metrics.only(lambda name, p: p.dim() > 7)
        refused(ValueError, r"<function .*matches none of the 4 parameters, which are None", metric, closure)

    def test_a_selector_may_be_spent_by_an_earlier_one(self):
        metric = Blockwise({"0.*": (Euclidean(), 1.0), "2.*": (Monge(), 1.0), "*": (Euclidean(), 1.0)})
        norm = metric.at(problem(build(mlp)))
        assert isinstance(norm, geosam.norms.JointInnerProduct) and len(norm.blocks) == 2

    def test_functions_need_no_names(self):
        model = build(mlp)
        metric = Blockwise({lambda name, p: p.dim() > 1: (Monge(), 1.0), lambda name, p: True: (Euclidean(), 0.5)})
        opt = SAM(sgd(model), metric)
        opt.step(closure(model))
        assert opt.last.radius.item() == pytest.approx(0.05)

    @pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
    def test_weights(self, weight):
        with pytest.raises(ValueError, match="not negative"):
            Blockwise({"*": (Euclidean(), weight)})

    @pytest.mark.parametrize("p", [1, 3.0, 0, math.nan, -math.inf])
    def test_p(self, p):
        with pytest.raises(ValueError, match=r"p must be 2 .* or math\.inf"):
            Blockwise({"*": (Euclidean(), 1.0)}, p)

    def test_a_divergence_is_no_part(self):
        metric = Blockwise({"*": (KLExact(), 1.0)})
        refused(TypeError, r"KLExact\(along=Blockwise", metric, problem)

    @pytest.mark.parametrize("part", [Euclidean, None, "Euclidean"])
    def test_a_part_is_an_instance(self, part):
        with pytest.raises(TypeError, match="instance"):
            Blockwise({"*": (part, 1.0)})
