"""Bad input: a clear error that names cause and cure, and nothing changed."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import SAM, norms
from geosam.engines import Auto, Func, Hooks
from geosam.metrics import (
    BlockDiagonal,
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
from geosam.observation import Metric, PerSampleGradients
from tests.networks import Closure, build, draw, labels, mlp

X, Y = draw(6, 4), labels(6)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def refused(
    error: type[Exception], match: str, metric: geosam.Metric | None, source: Callable[[nn.Module], Any], **settings: Any
) -> None:
    """A step raises this, and leaves parameters, optimizer state, memory and random numbers of training alone."""
    model = settings.pop("model", None) or build(mlp)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), metric, objective=Smoothed(0.5), **settings)
    values, state = copy.deepcopy(model.state_dict()), copy.deepcopy(opt.state_dict())
    with pytest.raises(error, match=match):
        opt.step(source(model))
    assert all(torch.equal(v, values[k]) for k, v in model.state_dict().items())
    now = opt.state_dict()
    assert now["state"] == state["state"] == {} and now["param_groups"] == state["param_groups"]


def closure(model: nn.Module) -> Closure:
    return Closure(model, X, Y)


def problem(model: nn.Module, loss: Any = None) -> geosam.problem.Bound:
    return geosam.Problem(model, loss or nn.CrossEntropyLoss()).on(X, Y)


def dead() -> nn.Module:
    """Hidden units that are off for every sample; and 27 parameters, more than six samples of three outputs can tell apart."""
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3))
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    return model


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


class TestSource:
    @pytest.mark.parametrize("rho", [0.05, 0.0])
    def test_step_without_a_source(self, rho):
        refused(TypeError, r"step\(\) .* needs a closure .* or problem\.on\(x, y\)", None, lambda m: None, rho=rho)

    @pytest.mark.parametrize("rho", [0.05, 0.0])
    @pytest.mark.parametrize("source", [1.0, "closure", torch.tensor(1.0)])
    def test_a_source_that_cannot_be_called(self, source, rho):
        refused(TypeError, r"needs a closure or problem\.on\(x, y\), got", None, lambda m: source, rho=rho)

    def test_a_problem_that_is_not_bound(self):
        refused(TypeError, r"problem\.on\(x, y\)", None, lambda m: geosam.Problem(m, nn.CrossEntropyLoss()))

    @pytest.mark.parametrize("rho", [0.05, 0.0])
    def test_a_closure_that_returns_none(self, rho):
        refused(TypeError, r"returned None.*return", None, lambda m: lambda: closure(m)() and None, rho=rho)

    @pytest.mark.parametrize("rho", [0.05, 0.0])
    @pytest.mark.parametrize("stale", [False, True])
    def test_a_closure_that_never_calls_backward(self, stale, rho):
        model = build(mlp)
        if stale:
            closure(model)()
        source = lambda m: lambda: F.cross_entropy(m(X), Y)  # noqa: E731
        refused(RuntimeError, r"loss\.backward\(\)", None, source, model=model, rho=rho)

    def test_parameters_of_another_model(self):
        other = build(mlp, seed=1)
        refused(ValueError, "belong to different models", EmpiricalFisher(), lambda m: problem(other))

    def test_a_loss_that_is_no_number(self):
        ragged = lambda z, y: F.cross_entropy(z, y, reduction="none")  # noqa: E731
        refused(ValueError, r"shape \(6,\).*one number", None, lambda m: problem(m, ragged))

    @pytest.mark.parametrize(
        "metric", [EmpiricalFisher(), DiagonalEmpiricalFisher(), DiagonalEmpiricalFisher(engine=Func())], ids=repr
    )
    def test_a_custom_loss_that_is_no_number_under_an_engine(self, metric):
        ragged = lambda z, y: F.cross_entropy(z, y, reduction="none")  # noqa: E731
        refused(ValueError, "one number|not a mean", metric, lambda m: problem(m, ragged))


class TestEvidence:
    def test_the_exact_words(self):
        message = (
            "EmpiricalFisher needs per-sample gradients; a plain closure gives only the batch gradient. "
            "Pass problem.on(x, y), or use GradientMagnitude()."
        )
        model = build(mlp)
        with pytest.raises(TypeError) as caught:
            SAM(sgd(model), EmpiricalFisher()).step(closure(model))
        assert str(caught.value) == message

    @pytest.mark.parametrize(
        "metric, lacks",
        [
            (EmpiricalFisher(), "per-sample gradients"),
            (DiagonalEmpiricalFisher(), "per-sample gradients"),
            (Fisher(), "predictive distribution"),
            (KLExact(along=Euclidean()), "predictive distribution"),
            (KLExact(), "per-sample gradients|predictive distribution"),
            (Blockwise({"0.*": (Euclidean(), 1.0), "*": (EmpiricalFisher(), 1.0)}), "per-sample gradients"),
        ],
        ids=repr,
    )
    def test_a_closure_is_not_enough(self, metric, lacks):
        words = rf"{type(metric).__name__} needs .*({lacks}); a plain closure.*problem\.on\(x, y\)"
        refused(TypeError, words, metric, closure)

    @pytest.mark.parametrize("loss", [nn.HuberLoss(), lambda z, y: (z - F.one_hot(y, 3)).square().mean()], ids=["huber", "own"])
    @pytest.mark.parametrize("metric", [KLExact(along=Euclidean()), Fisher()], ids=repr)
    def test_a_loss_without_a_distribution(self, metric, loss):
        targets = F.one_hot(Y, 3).float() if isinstance(loss, nn.HuberLoss) else Y
        source = lambda m: geosam.Problem(m, loss).on(X, targets)  # noqa: E731
        refused(TypeError, rf"{type(metric).__name__} needs.*likelihood=", metric, source)


class TestBatch:
    def test_sizes_that_differ(self):
        with pytest.raises(ValueError, match=r"first dimension.*\(6, 4\).*\(5,\)"):
            geosam.Problem(build(mlp), nn.CrossEntropyLoss()).on(X, Y[:5])

    def test_no_batch_dimension_no_batch_at_all(self):
        with pytest.raises(ValueError, match="first dimension"):
            geosam.Problem(build(mlp), nn.CrossEntropyLoss()).on(X, torch.tensor(1))
        with pytest.raises(ValueError, match="empty"):
            geosam.Problem(build(mlp), nn.CrossEntropyLoss()).on(X[:0], Y[:0])

    @pytest.mark.parametrize(
        "metric", [Euclidean(), EmpiricalFisher(), DiagonalEmpiricalFisher(), Fisher(), KLExact()], ids=repr
    )
    def test_squared_error_that_would_broadcast(self, metric):
        model = nn.Linear(4, 1)
        source = lambda m: geosam.Problem(m, nn.MSELoss()).on(X, draw(6))  # noqa: E731
        refused(ValueError, r"\(\d, 1\) and targets \(\d,?\).*broadcasting.*Reshape", metric, source, model=model)

    def test_squared_error_that_would_broadcast_in_the_second_pass_alone(self):
        bound = geosam.Problem(nn.Linear(4, 1), nn.MSELoss()).on(X, draw(6))
        with pytest.raises(ValueError, match="broadcasting"):
            bound()


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


class TestMisc:
    def test_kl_along_a_divergence(self):
        with pytest.raises(TypeError, match="chooses a ray by a norm"):
            KLExact(along=KLExact())

    @pytest.mark.parametrize("along", [Euclidean, None])
    def test_kl_along_no_instance(self, along):
        with pytest.raises(TypeError, match=r"instance|needs a"):
            KLExact(along=along).at(problem(build(mlp)))

    def test_a_covector_of_other_shapes(self):
        norm = EmpiricalFisher().at(problem(build(mlp)))
        with pytest.raises(ValueError, match=r"shapes \[\(2,\)\] are not those"):
            geosam.solve(norm, [torch.zeros(2)], 0.1)

    def test_an_observation_cannot_be_added_to(self):
        seen = geosam.observe(problem(build(mlp)), Euclidean().needs)
        with pytest.raises(
            TypeError,
            match=r"EmpiricalFisher needs per-sample gradients, and this observation does not hold PerSampleGradients",
        ):
            EmpiricalFisher().at(seen)

    def test_needs_that_are_no_tuple_of_requests(self):
        bound = problem(build(mlp))
        for needs in (PerSampleGradients(Auto()), [PerSampleGradients(Auto())], (Auto(),)):
            with pytest.raises(TypeError, match="needs is a tuple of requests"):
                geosam.observe(bound, needs)

    def test_an_engine_that_cannot_be_compared(self):
        class Mine(Hooks):
            __hash__ = None  # type: ignore[assignment]

        with pytest.raises(TypeError, match="hashable"):
            geosam.observe(problem(build(mlp)), (PerSampleGradients(Mine()),))

    def test_a_norm_of_all_parameters_for_groups_and_blocks(self):
        bound = problem(build(mlp))
        whole = norms.Diagonal.of([torch.ones_like(p) for p in bound.parameters])
        base = torch.optim.SGD([{"params": [p], "rho": 0.1 * (i + 1)} for i, p in enumerate(bound.parameters)], lr=0.1)
        with pytest.raises(ValueError, match=r"Diagonal was made for parameters of shapes .* no part for a group"):
            geosam.SAM(base, whole).step(bound)
        with pytest.raises(ValueError, match="Diagonal was made for"):
            BlockDiagonal(whole).at(bound)

    def test_a_metric_may_have_a_name_of_its_own(self):
        class Mine(Metric):
            def __init__(self):
                self.name = "mine"

            def local(self, observation):
                return norms.Identity()

        assert geosam.compare(problem(build(mlp)), [Mine()], rho=0.1).rows[0].name == "Mine"

    def test_a_norm_explains_itself(self):
        assert "no engine is used" in problem(build(mlp)).explain(norms.Sup())

    @pytest.mark.parametrize("loss", [None, "mse", 3])
    def test_a_loss_that_cannot_be_called(self, loss):
        with pytest.raises(TypeError, match="loss"):
            geosam.Problem(build(mlp), loss)
