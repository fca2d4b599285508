"""What is asked for is served: every kind, two engines of one kind, and a kind that somebody else adds."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import geosam
from geosam.engines import Func, Hooks
from geosam.metrics import Blockwise, DiagonalEmpiricalFisher, EmpiricalFisher, Euclidean, Fisher, KLExact, MonteCarlo
from geosam.observation import (
    HessianProducts,
    MeanSquares,
    Metric,
    PerSampleGradients,
    PredictiveDistribution,
    Request,
    name_of,
)
from tests.networks import build, draw, dropout_net, labels, mlp

FLOAT64 = torch.float64


def bind(make=mlp, dtype=FLOAT64):
    return geosam.Problem(build(make, dtype=dtype), nn.CrossEntropyLoss()).on(draw(6, 4, dtype=dtype), labels(6))


def flat(v):
    return torch.cat([t.reshape(-1) for t in v])


class Counted(Hooks):
    """Hooks that count how often they capture."""

    calls: ClassVar[list[int]] = []

    def capture(self, bound, parameters, draw=None):
        self.calls.append(bound.n)
        return super().capture(bound, parameters, draw)


class TestTwoEngines:
    """Of one kind: both are served in one pass, or refused where their answers need not agree. None is dropped."""

    parts: ClassVar = {"0.*": (EmpiricalFisher(1e-6, Hooks()), 1.0), "*": (EmpiricalFisher(1e-6, Func()), 1.0)}

    one_engine: ClassVar = {name: (EmpiricalFisher(1e-6, Func()), weight) for name, (_, weight) in parts.items()}

    def test_both_capture(self):
        seen = geosam.observe(bind(), Blockwise(self.parts).needs)
        factored, formed = (seen[PerSampleGradients(engine)] for engine in (Hooks(), Func()))
        assert type(factored) is not type(formed)
        torch.testing.assert_close(factored.gram(), formed.gram())

    @pytest.mark.parametrize("dtype, allowed", [(FLOAT64, 1e-9), (torch.float32, 2e-6)], ids=["float64", "float32"])
    def test_the_gradient_is_in_the_row_space_of_both(self, dtype, allowed):
        """At λ = 1e-6 a gradient that is not recognised costs 1e-2 of ε in float32; recognised it costs 2e-7."""
        epsilons = []
        for bound, metric in ((bind(dtype=dtype), Blockwise(self.parts)), (bind(), Blockwise(self.one_engine))):
            seen = geosam.observe(bound, metric.needs)
            epsilons.append(flat(geosam.solve(metric.at(seen), seen.gradient, 0.1).epsilon).double())
        found, want = epsilons
        assert (found - want).norm() <= allowed * want.norm()

    def test_squares_are_the_engine_s_own(self):
        needs = (*EmpiricalFisher(0.1, Func()).needs, *DiagonalEmpiricalFisher(0.1, Counted()).needs)
        Counted.calls.clear()
        seen = geosam.observe(bind(), needs)
        assert Counted.calls
        torch.testing.assert_close(list(seen[needs[1]]), list(seen[needs[0]].mean_squares()))

    def test_one_engine_captures_once(self):
        Counted.calls.clear()
        seen = geosam.observe(bind(), (*EmpiricalFisher(0.1, Counted()).needs, *DiagonalEmpiricalFisher(0.1, Counted()).needs))
        assert Counted.calls == [6] and seen[MeanSquares(Counted())] is not None

    @pytest.mark.parametrize("train", [False, True])
    @pytest.mark.parametrize("first", [PerSampleGradients, MeanSquares])
    @pytest.mark.parametrize("second", [PerSampleGradients, MeanSquares])
    def test_a_random_forward_pass_is_refused(self, train, first, second):
        """Func draws a mask a sample, Hooks one for the batch: rows of other masks are other rows."""
        with pytest.raises(ValueError, match=r"two engines are asked about the samples of one pass.*Use one engine"):
            geosam.observe(bind(dropout_net), (first(Hooks()), second(Func())), train=train)

    def test_an_observation_of_one_engine_is_none_of_the_other(self):
        seen = geosam.observe(bind(), EmpiricalFisher(0.1, Hooks()).needs)
        for metric in (EmpiricalFisher(0.1, Func()), DiagonalEmpiricalFisher(0.1, Hooks())):
            with pytest.raises(TypeError, match="needs per-sample gradients"):
                metric.at(seen)

    def test_rows_beside_the_draws_of_another_engine(self):
        """The drawn rows lead the pass; the empirical ones are captured by the engine that was asked for."""
        rows = PerSampleGradients(Counted())
        Counted.calls.clear()
        seen = geosam.observe(bind(), (rows, *Fisher(0.1, MonteCarlo(1), engine=Func()).needs))
        assert Counted.calls == [6] and seen.gradient.rows is not seen[rows]  # type: ignore[attr-defined]
        right = EmpiricalFisher(1e-3, Func())
        want = geosam.solve(right.at(bind()), geosam.observe(bind(), right.needs).gradient, 0.1).epsilon
        found = geosam.solve(EmpiricalFisher(1e-3, Counted()).at(seen), seen.gradient, 0.1).epsilon
        torch.testing.assert_close(found, want)


class TestErrors:
    def test_the_one_that_needs_it_is_named(self):
        bound = bind()
        opt = geosam.SAM(torch.optim.SGD(bound.model.parameters(), lr=0.1), objective=geosam.objectives.Eigen())
        with pytest.raises(TypeError, match="Eigen needs Hessian-vector products"):
            opt.step(lambda: bound())

    @pytest.mark.parametrize(
        "request_, says",
        [
            (PerSampleGradients(Hooks()), "per-sample gradients"),
            (MeanSquares(Hooks()), "per-sample gradients"),
            (PredictiveDistribution(), "predictive distribution"),
            (HessianProducts(), "Hessian-vector products"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_a_closure_and_an_observation_lack_it(self, request_, says):
        @dataclass(frozen=True)
        class Asks(Metric):
            @property
            def needs(self):
                return (request_,)

            def local(self, observation):
                return geosam.norms.Identity(observation.parameters)

        bound = bind()
        opt = geosam.SAM(torch.optim.SGD(bound.model.parameters(), lr=0.1), Asks())
        with pytest.raises(TypeError, match=rf"Asks needs .*{says}.*Pass problem\.on\(x, y\)"):
            opt.step(lambda: bound())
        with pytest.raises(TypeError, match=rf"Asks needs .*{says}"):
            Asks().at(geosam.observe(bound))

    def test_what_nobody_asked_for(self):
        with pytest.raises(TypeError, match="was not asked for HessianProducts"):
            _ = geosam.observe(bind())[HessianProducts()]

    @pytest.mark.parametrize("asked", [HessianProducts(), (HessianProducts,)])
    def test_needs_that_are_no_tuple_of_requests(self, asked):
        with pytest.raises(TypeError, match=r"Asks\.needs is a tuple of requests, such as"):
            type("Asks", (Metric,), {"needs": asked, "local": lambda self, observation: None})

    def test_a_local_that_gives_no_norm(self):
        bare = type("Bare", (Metric,), {"local": lambda self, observation: list(observation.gradient)})
        with pytest.raises(TypeError, match=r"needs a norm or divergence, .*``local`` of a metric of one's own returns; got"):
            geosam.SAM(torch.optim.SGD((bound := bind()).model.parameters(), lr=0.1), bare()).step(bound)


@dataclass(frozen=True)
class OutputLength(Request[Tensor]):
    """‖f(x)‖ over the batch: a kind of one's own."""

    lacking: ClassVar[str] = "the outputs; pass problem.on(x, y)."

    def take(self, look):
        return look.lead.outputs.detach().norm()

    def restrict(self, value, index):
        return value


def test_a_kind_that_somebody_else_adds_goes_everywhere():
    """Through a metric, a product, the optimizer, and beside other kinds."""

    @dataclass(frozen=True)
    class ByOutputs(Metric):
        @property
        def needs(self):
            return (OutputLength(),)

        def local(self, observation):
            length = observation[OutputLength()]
            return geosam.norms.Diagonal.of([torch.full_like(p, length).detach() for p in observation.parameters])

    bound = bind()
    want = bound.outputs().norm()
    assert ByOutputs().at(bound).entries(0).flatten()[0] == want
    both = Blockwise({"0.*": (ByOutputs(), 1.0), "*": (Euclidean(), 1.0)})
    assert geosam.observe(bound, (*both.needs, *KLExact(both).needs))[OutputLength()] == want
    opt = geosam.SAM(torch.optim.SGD(bound.model.named_parameters(), lr=0.1), both, rho=0.1)
    opt.step(bound)
    assert opt.last.radius == pytest.approx(0.1)


def test_a_norm_stands_for_the_metric_that_is_the_same_everywhere():
    bound, sup = bind(), geosam.norms.Sup()
    opt = geosam.SAM(torch.optim.SGD(bound.model.parameters(), lr=0.1), metric=sup, rho=0.1)
    with opt.perturbed(bound) as p:
        assert max(e.abs().max() for e in p.epsilon) == pytest.approx(0.1)
    opt.metric = geosam.norms.Spectral()
    assert name_of(opt.metric) == "Spectral" and not isinstance(sup, Metric)
    assert [row.name for row in geosam.compare(bound, [sup, Euclidean()], rho=0.1).rows] == ["Sup", "Euclidean"]
    assert KLExact(along=sup).at(bound).along is sup
    with pytest.raises(TypeError, match="metric must be an instance of Metric"):
        opt.metric = "euclidean"  # type: ignore[assignment]
