"""What is seen at θ: of the parameters, the batch and the masks as they are, and the model is left as it was found."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import geosam
from geosam.core import vectors as vec
from geosam.engines import BackPACK, Func
from geosam.metrics import (
    DiagonalEmpiricalFisher,
    EmpiricalFisher,
    Euclidean,
    Fisher,
    GradientMagnitude,
    KLExact,
    KroneckerFisher,
    ParameterScaled,
)
from geosam.observation import LabelDraws, MeanSquares, PerSampleGradients, PredictiveDistribution
from tests.networks import batch_norm_net, build, clones, draw, dropout_net, labels, mlp, network, same

X, Y = draw(6, 4), labels(6)
METRICS = [
    Euclidean(),
    GradientMagnitude(),
    EmpiricalFisher(0.1),
    DiagonalEmpiricalFisher(0.1, engine=Func()),
    DiagonalEmpiricalFisher(0.1, engine=BackPACK()),
    Fisher(0.1),
    KLExact(),
]


def name_of(value: object) -> str:
    return type(value).__name__


def bind(model: nn.Module) -> geosam.problem.Bound:
    return geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)


@pytest.mark.parametrize("metric", METRICS, ids=name_of)
def test_an_observation_is_of_the_parameters_as_they_are(metric):
    model = build(mlp)
    bound = bind(model)
    geosam.observe(bound, metric.needs)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(-1.5)
    moved, twin = geosam.observe(bound, metric.needs), build(mlp)
    twin.load_state_dict(model.state_dict())
    fresh = geosam.observe(bind(twin), metric.needs)
    assert torch.equal(moved.loss, fresh.loss) and same(list(moved.gradient), list(fresh.gradient))
    read = {
        PerSampleGradients: lambda rows: [rows.gram()],
        MeanSquares: list,
        PredictiveDistribution: lambda predictive: [predictive.outputs],
        LabelDraws: lambda drawn: [drawn.rows.gram()],
    }
    for request in metric.needs:
        assert same(*(read[type(request)](seen[request]) for seen in (moved, fresh)))


@pytest.mark.parametrize("metric", [*METRICS, ParameterScaled()], ids=name_of)
def test_a_geometry_stays_that_of_its_point_when_the_parameters_move_on(metric):
    """``epsilon`` can be measured where it lives: inside ``perturbed``, where the parameters are elsewhere."""
    model = build(mlp)
    bound = bind(model)
    fresh, kept = metric.at(bound), metric.at(bound)
    v = [0.05 * draw(*p.shape, seed=4) for p in model.parameters()]
    size = fresh(v) if isinstance(fresh, geosam.Divergence) else fresh.norm(v)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.5)
    torch.testing.assert_close(kept(v) if isinstance(kept, geosam.Divergence) else kept.norm(v), size)


@pytest.mark.parametrize("metric", METRICS, ids=name_of)
@pytest.mark.parametrize("had", [False, True])
def test_inputs_that_require_gradients_keep_theirs(metric, had):
    model, x = build(mlp), X.clone().requires_grad_()
    x.grad = kept = torch.ones_like(x) if had else None
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, Y)
    norm = metric.at(bound)
    epsilon = geosam.solve(norm, geosam.observe(bound).gradient, 0.05).epsilon
    bound.surface().gradient(epsilon)
    assert x.grad is kept and (kept is None or bool((kept == 1).all()))


@pytest.mark.parametrize("metric", METRICS, ids=name_of)
def test_collecting_leaves_gradients_parameters_and_frozen_statistics_alone(metric):
    model = build(batch_norm_net).eval()
    parameters = list(model.parameters())
    for p in parameters[:-1]:
        p.grad = torch.full_like(p, 5.0)
    marks, values = [p.grad for p in parameters], clones(model)
    buffers = {k: b.clone() for k, b in model.named_buffers()}
    norm = metric.at(bind(model))
    geosam.solve(norm, geosam.observe(bind(model), metric.needs).gradient, 0.05)
    assert all(p.grad is m and (m is None or (m == 5).all()) for p, m in zip(parameters, marks, strict=True))
    assert same(clones(model), values)
    assert all(torch.equal(b, buffers[k]) for k, b in model.named_buffers())


@pytest.mark.parametrize("metric", [GradientMagnitude(), Fisher(0.1), Fisher(), KLExact(along=GradientMagnitude())], ids=repr)
def test_batch_norm_in_training_mode_sees_each_pass_once(metric):
    model = build(batch_norm_net)
    bound = bind(model)
    buffers = {k: b.clone() for k, b in model.named_buffers()}
    seen = geosam.observe(bound, metric.needs)
    pert = geosam.solve(metric.at(seen), seen.gradient, 0.05)
    assert pert.finite and pert.scale > 0
    assert all(torch.equal(b, buffers[k]) for k, b in model.named_buffers())

    geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric, rho=0.05, batchnorm="both").step(bound)
    assert model[1].num_batches_tracked == 2


@pytest.mark.parametrize("metric", [Fisher(0.1), KLExact(along=GradientMagnitude())], ids=repr)
def test_batch_norm_remembers_the_two_passes_and_no_probe(metric):
    model, twin = build(batch_norm_net), build(batch_norm_net)
    bound = bind(model)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric, rho=0.05, batchnorm="both")
    with opt.perturbed(bound) as p:
        twin(X)  # the first pass, at θ
        assert all(torch.equal(a, b) for a, b in zip(model.buffers(), twin.buffers(), strict=True))
        with torch.no_grad():
            vec.add_(list(twin.parameters()), p.epsilon)
        bound()
        twin(X)  # the second, at θ + ε
    for a, b in zip(model.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(a, b)


class TestDropout:
    def seen(self, seed: int = 3, metric: geosam.Metric = KLExact(along=Euclidean())) -> geosam.Observation:
        torch.manual_seed(seed)
        return geosam.observe(bind(build(dropout_net)), metric.needs)

    def test_one_mask_for_all_evaluations(self):
        for metric in (KLExact(along=Euclidean()), KLExact(along=EmpiricalFisher(0.1))):
            seen = self.seen(metric=metric)
            divergence = metric.at(seen)
            epsilon = [0.05 * torch.ones_like(p) for p in seen.parameters]
            first = divergence(epsilon)
            torch.rand(100)
            assert divergence([torch.zeros_like(p) for p in seen.parameters]) == 0
            assert divergence(epsilon) == first > 0

    def test_the_mask_is_that_of_the_first_pass(self):
        seen = self.seen()
        assert torch.equal(F.cross_entropy(seen[PredictiveDistribution()].outputs, Y), seen.loss)

    def test_another_step_draws_another_mask(self):
        assert not torch.equal(self.seen(3)[PredictiveDistribution()].outputs, self.seen(4)[PredictiveDistribution()].outputs)

    @pytest.mark.parametrize("metric", [KLExact(along=Euclidean()), Fisher(0.1), Fisher()], ids=repr)
    def test_looking_leaves_the_random_stream_alone(self, metric):
        torch.manual_seed(3)
        before = torch.get_rng_state()
        seen = geosam.observe(bind(build(dropout_net)), metric.needs)
        geosam.solve(metric.at(seen), seen.gradient, 0.1)
        seen[PredictiveDistribution()].fisher(seen.gradient)
        assert torch.equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize("metric", [KLExact(along=Euclidean()), Fisher(0.1), Fisher()], ids=repr)
    def test_a_step_draws_the_two_masks_of_its_passes_whatever_the_metric(self, metric):
        states = []
        for each in (Euclidean(), metric):
            model = build(dropout_net)
            torch.manual_seed(3)
            geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), each).step(bind(model))
            states.append(torch.get_rng_state())
        assert torch.equal(*states)

    def test_fisher_products_see_the_same_mask(self):
        seen = self.seen(metric=Fisher(0.1))
        fisher, parameters = seen[PredictiveDistribution()].fisher, seen.parameters
        u, v = ([draw(*p.shape, seed=seed) for p in parameters] for seed in (4, 5))
        assert vec.dot(u, fisher(v)).item() == pytest.approx(vec.dot(v, fisher(u)).item(), rel=1e-4)
        curvature = 2 * seen[PredictiveDistribution()].kl(vec.scale(u, 1e-3)).item() / 1e-6
        assert vec.dot(u, fisher(u)).item() == pytest.approx(curvature, rel=1e-2)

    def test_the_radius_is_met_under_the_mask(self):
        metric = KLExact(along=Euclidean())
        seen = self.seen(metric=metric)
        divergence = metric.at(seen)
        pert = geosam.solve(divergence, seen.gradient, 0.1)
        assert (2 * divergence(pert.epsilon)).sqrt().item() == pytest.approx(0.1, rel=0.01)


def test_an_observation_gives_a_block_its_own_view():
    seen = geosam.observe(bind(build(mlp)), EmpiricalFisher(0.1).needs + Fisher(0.1).needs)
    part = seen.restrict([2, 0])
    assert part.names == ["2.weight", "0.weight"]
    assert same(list(part.gradient), [seen.gradient[2], seen.gradient[0]])
    epsilon = [0.1 * torch.ones_like(p) for p in part.parameters]
    whole = [epsilon[1], torch.zeros(6), epsilon[0], torch.zeros(3)]
    torch.testing.assert_close(part[PredictiveDistribution()].kl(epsilon), seen[PredictiveDistribution()].kl(whole))


@pytest.mark.parametrize("name", ["cnn", "transformer", "lstm", "embedding", "tied"])
def test_every_kind_of_observation_for_every_kind_of_network(name):
    model, x, y = network(name)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
    expected = torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))
    for metric in (ParameterScaled(), EmpiricalFisher(0.1), DiagonalEmpiricalFisher(0.1), Fisher(0.1), KLExact()):
        seen = geosam.observe(bound, metric.needs)
        for found, right in zip(seen.gradient, expected, strict=True):
            torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-6)
        pert = geosam.solve(metric.at(seen), seen.gradient, 0.05)
        assert pert.finite and pert.radius.item() == pytest.approx(0.05, rel=0.011)


def test_blocks_keep_what_the_gradient_remembers():
    """float32 at λ = 1e-8, where only the coordinates in the row space are accurate enough."""
    model, x, y = build(mlp), draw(6, 4), labels(6)
    full = geosam.metrics.EmpiricalFisher(1e-8)
    whole, part = (
        geosam.solve(metric.at(seen), seen.gradient, 0.1).epsilon
        for metric in (full, geosam.metrics.Blockwise({"*": (full, 1.0)}))
        for seen in [geosam.observe(geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y), metric.needs)]
    )
    assert vec.norm(vec.add(whole, part, -1.0)) < 1e-5 * vec.norm(whole)


class Recomputing(nn.Module):
    """Its hidden block is recomputed by a reentrant checkpoint, which one engine refuses after its forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.hidden, self.last = nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.count: Tensor
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.count.add_(1)
        return self.last(checkpoint(self.hidden, self.norm(self.first(x)).tanh(), use_reentrant=True))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # a checkpoint's, without a graph
@pytest.mark.parametrize("frozen", [True, False])
def test_a_pass_that_is_taken_again_updates_buffers_once(frozen: bool) -> None:
    model = build(Recomputing)
    if not frozen:
        model.norm.eval()
    bound = geosam.Problem(model, nn.CrossEntropyLoss(), frozen_statistics=frozen).on(draw(6, 5), labels(6))
    for k in 1, 2:
        geosam.observe(bound, EmpiricalFisher().needs, train=True)
        assert model.count == k and model.norm.num_batches_tracked == (k if frozen else 0)
    with pytest.raises(RuntimeError, match=r"use_reentrant=False"):
        KroneckerFisher(0.1, rest=Euclidean()).at(bound)


class Strict(nn.Module):
    """A perceptron that refuses large inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: Tensor) -> Tensor:
        if (x > 50).any():
            raise RuntimeError("an input is too large")
        z: Tensor = self.net(x)
        return z


@pytest.mark.parametrize(
    "metric", [EmpiricalFisher(), EmpiricalFisher(engine=Func()), Fisher(0.1)], ids=["Auto", "Func", "draws"]
)
def test_what_the_model_raises_on_a_batch_is_told_and_changes_no_engine(metric) -> None:
    model = build(Strict)
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    bad = X.clone()
    bad[2] = 100
    plan = metric.explain(problem.on(X, Y))
    metric.at(problem.on(X, Y))
    with pytest.raises(RuntimeError, match=r"^an input is too large$"):
        metric.at(problem.on(bad, Y))
    assert metric.explain(problem.on(X, Y)) == plan
