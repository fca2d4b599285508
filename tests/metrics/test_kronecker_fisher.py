"""The Kronecker-factored Fisher: against kron(B, A) in float64, exact where theory says so, loud where it is not covered."""

import sys

import pytest
import torch
from torch import nn

import geosam
from geosam import metrics, norms
from geosam.metrics import BlockDiagonal, Empirical, Exact, Fisher, KroneckerFisher, MonteCarlo, Relative
from geosam.problem.likelihoods import categorical
from tests.fishers import FLOAT64, bind, closeness, dense, epsilon, flat
from tests.laws import oracles
from tests.networks import NETWORKS, batch_norm_net, build, cnn, draw, labels, mlp, network
from tests.placement import device


def factored(norm):
    assert isinstance(norm, norms.Kronecker)
    return norm


LOSSES = [nn.CrossEntropyLoss(label_smoothing=0.1), nn.MSELoss(), nn.BCEWithLogitsLoss()]


@pytest.mark.parametrize("make", [mlp, cnn])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_it_is_the_kronecker_product_of_its_dense_factors(loss, make):
    bound = bind(loss, make)
    for damping in (0.1, Relative(0.01)):
        norm, want = factored(KroneckerFisher(damping).at(bound)), oracles.kronecker_fisher(damping)(bound)
        assert closeness(dense(norm, bound.parameters), want) < 1e-9
        seen = geosam.observe(bound, KroneckerFisher(damping).needs)
        c = seen.gradient
        assert closeness(flat(norm.sharp(c)), torch.linalg.solve(want, flat(c))) < 1e-9
        assert float(norm.logdet()) == pytest.approx(float(torch.logdet(want)), rel=1e-9)


@pytest.mark.parametrize("loss", [*LOSSES, nn.CrossEntropyLoss()], ids=repr)
def test_one_layer_and_one_datum_is_the_full_fisher(loss):
    bound = bind(loss, lambda: nn.Linear(4, 3), n=1)
    want = dense(Fisher(0.1).at(bound), bound.parameters)
    assert closeness(dense(KroneckerFisher(0.1).at(bound), bound.parameters), want) < 1e-12
    empirical = dense(metrics.EmpiricalFisher(0.1).at(bound), bound.parameters)
    assert closeness(dense(KroneckerFisher(0.1, Empirical()).at(bound), bound.parameters), empirical) < 1e-12


def test_gaussian_outputs_of_one_layer_are_the_full_fisher_for_every_batch():
    """The scores' second moment does not depend on the input there, so that the two factors are independent."""
    bound = bind(nn.MSELoss(), lambda: nn.Linear(4, 3))
    want = dense(Fisher(0.1).at(bound), bound.parameters)
    assert closeness(dense(KroneckerFisher(0.1).at(bound), bound.parameters), want) < 1e-12


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_the_last_layer_s_expectation_over_labels_is_exact_and_drawn_labels_come_near_it(loss):
    bound = bind(loss)
    exact = dense(KroneckerFisher(0.1).at(bound), bound.parameters)
    sampling = MonteCarlo(500, torch.Generator(device()).manual_seed(0))
    assert closeness(dense(KroneckerFisher(0.1, sampling).at(bound), bound.parameters), exact) < 0.2


def test_drawn_labels_repeat_in_a_look_and_change_from_step_to_step():
    generator = torch.Generator(device()).manual_seed(0)
    state, stream = generator.get_state(), torch.get_rng_state()
    for sampling in (MonteCarlo(1), MonteCarlo(1, generator)):
        metric, bound = KroneckerFisher(0.1, sampling), bind()
        assert torch.equal(epsilon(metric, bound), epsilon(metric, bound))
    assert torch.equal(generator.get_state(), state) and torch.equal(torch.get_rng_state(), stream)
    geosam.observe(bind(), KroneckerFisher(0.1, MonteCarlo(1, generator)).needs, train=True)
    assert not torch.equal(generator.get_state(), state) and torch.equal(torch.get_rng_state(), stream)


def test_a_part_of_a_layer_is_the_principal_part_of_its_block():
    bound = bind()
    parts = {"*.bias": (KroneckerFisher(0.1), 1.0), "*": (KroneckerFisher(0.1), 1.0)}
    whole = oracles.kronecker_fisher(0.1)(bound)
    for index in ([0], [1], [3, 0]):
        seen = geosam.observe(bound, KroneckerFisher(0.1).needs).restrict(index)
        places = torch.arange(51).split([p.numel() for p in bound.parameters])
        chosen = torch.cat([places[i] for i in index])
        found = dense(KroneckerFisher(0.1).at(seen), seen.parameters)
        assert closeness(found, whole[chosen][:, chosen]) < 1e-9
    assert torch.isfinite(epsilon(metrics.Blockwise(parts), bound)).all()
    assert (
        closeness(
            dense(BlockDiagonal(KroneckerFisher(0.1)).at(bound), bound.parameters),
            dense(KroneckerFisher(0.1).at(bound), bound.parameters),
        )
        < 1e-12
    )


def test_chosen_parameters_in_their_order():
    bound = bind()
    model = bound.model
    chosen = [model[2].bias, model[0].weight]
    found = KroneckerFisher(0.1).at(bound.wrt(chosen))
    whole = oracles.kronecker_fisher(0.1)(bound)
    places = torch.cat([torch.arange(48, 51), torch.arange(24)])
    assert closeness(dense(found, chosen), whole[places][:, places]) < 1e-9


def test_dropout_has_the_mask_of_the_pass():
    layers = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 3)).double()
    bound = geosam.Problem(layers, nn.MSELoss()).on(torch.ones(4, 8, dtype=FLOAT64), torch.zeros(4, 3, dtype=FLOAT64))
    torch.manual_seed(2)
    found = factored(KroneckerFisher(0.1).at(bound))
    mask = bound.outputs  # the same state: the mask of the next pass
    torch.manual_seed(2)
    x = layers[0](bound.x)
    a = torch.cat([x, torch.ones(4, 1)], 1)
    assert mask is not None
    torch.testing.assert_close(found.blocks[0].inner, a.T @ a / 4)


COVERED = ("mlp", "cnn")
REASONS = {
    "residual, GroupNorm": "GroupNorm",
    "transformer": "MultiheadAttention",
    "attention": "MultiheadAttention",
    "lstm": "LSTM",
    "embedding": "Embedding",
    "tied": "shared by several modules",
    "raw parameter": "Raw",
    "second use": "used 2 times",
    "weight norm": "neither Linear nor Conv2d",
    "LayerNorm": "LayerNorm",
}


@pytest.mark.parametrize("name", REASONS)
def test_what_is_not_covered_is_named_with_its_reason(name):
    model, x, y = network(name)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
    with pytest.raises(ValueError, match=rf"(?s)does not cover.*{REASONS[name]}.*KroneckerFisher\(rest="):
        KroneckerFisher(0.1).at(bound)
    metric = KroneckerFisher(0.1, rest=metrics.DiagonalFisher(0.1))
    seen = geosam.observe(bound, metric.needs)
    found = geosam.solve(metric.at(seen), seen.gradient, 0.1)
    assert found.finite and found.radius == pytest.approx(0.1)
    assert float(metric.at(seen).norm(found.epsilon)) == pytest.approx(0.1, rel=1e-4)


def test_every_network_here_is_covered_or_refused_for_a_stated_reason():
    assert {*COVERED, *REASONS, "subclass of Linear"} == NETWORKS.keys()


class Split(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)

    def forward(self, x):
        return super().forward(x).split(1, 1)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.inner(torch.tanh(self.inner(x)))))


@pytest.mark.parametrize(
    "make, reason",
    [
        (Twice, "used 2 times, by 2 calls"),
        (lambda: nn.Sequential(nn.Unflatten(1, (4, 1, 1)), nn.Conv2d(4, 4, 1, groups=2), nn.Flatten()), "groups"),
    ],
)
def test_curvlinops_would_be_wrong_in_silence_for_these(make, reason):
    bound = geosam.Problem(build(make), nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
    with pytest.raises(ValueError, match=reason):
        KroneckerFisher(0.1).at(bound)


def test_samples_that_meet_and_outputs_that_are_no_tensor_are_refused():
    bound = geosam.Problem(build(batch_norm_net), nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
    with pytest.raises(ValueError, match="normalises by the batch's statistics"):
        KroneckerFisher(0.1, rest=metrics.Euclidean()).at(bound)
    bound = geosam.Problem(Split(), lambda z, y: z[0].square().mean(), categorical).on(draw(6, 4), labels(6))
    with pytest.raises(TypeError, match="one tensor of outputs, batch first; wrap the model"):
        KroneckerFisher(0.1).at(bound)


def test_without_curvlinops_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "curvlinops", None)
    with pytest.raises(ImportError, match=r"geosam\[kronecker\]"):
        KroneckerFisher(0.1).at(bind())


def test_no_damping_needs_factors_of_full_rank():
    with pytest.raises(ValueError, match="Kronecker product"):
        KroneckerFisher(0.0).at(bind())


def test_a_sampling_is_an_object():
    with pytest.raises(TypeError, match=r"Exact\(\), MonteCarlo\(n\) or Empirical\(\)"):
        KroneckerFisher(0.1, Exact)
    with pytest.raises(TypeError, match="rest"):
        KroneckerFisher(0.1, rest=metrics.Euclidean)


def test_it_leaves_buffers_gradients_and_modes_alone():
    model = build(batch_norm_net).eval()
    buffers = [b.clone() for b in model.buffers()]
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
    KroneckerFisher(0.1, rest=metrics.Euclidean()).at(bound)
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True))
    assert all(p.grad is None for p in model.parameters()) and not model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("scale", [1e-22, 1e17])
def test_factors_that_leave_the_range_of_float32_are_taken_in_float64(scale):
    """A is of order scale², beyond float32 at 1e−22 and at its edge at 1e17 summed."""
    found = []
    for dtype in (torch.float32, FLOAT64):
        model = build(lambda: nn.Linear(4, 3, bias=False), dtype=torch.float32).to(dtype)
        with torch.no_grad():
            model.weight.mul_(1 / scale)
        bound = geosam.Problem(model, nn.MSELoss()).on((draw(6, 4) * scale).to(dtype), draw(6, 3).to(dtype))
        found.append(epsilon(KroneckerFisher(Relative(0.1)), bound))
    assert closeness(*found) < 1e-4


def test_inputs_by_keyword_outputs_of_one_number_and_functional_losses():
    class Keyed(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 1)

        def forward(self, a, b):
            return self.head(a + b).squeeze(1)

    a, b, y = draw(6, 4, dtype=FLOAT64), draw(6, 4, seed=4, dtype=FLOAT64), draw(6, dtype=FLOAT64)
    bound = geosam.Problem(build(Keyed, dtype=FLOAT64), torch.nn.functional.mse_loss).on({"a": a, "b": b}, y)
    want = dense(Fisher(0.1).at(bound), bound.parameters)
    for sampling in (Exact(), Empirical()):
        found = dense(KroneckerFisher(0.1, sampling).at(bound), bound.parameters)
        assert (closeness(found, want) < 1e-12) == (sampling == Exact())
