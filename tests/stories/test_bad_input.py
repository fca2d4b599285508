"""Bad sources, batches and evidence: a clear error that names cause and cure, and nothing changed."""

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
    KLExact,
)
from geosam.observation import Metric, PerSampleGradients
from tests.networks import build, draw, mlp
from tests.refusals import X, Y, closure, problem, refused, sgd


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
