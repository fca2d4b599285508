"""KFAC's factors by definition for all outputs and samplings; what curvlinops alone gets wrong is right or refused."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import geosam
from geosam import metrics
from geosam.metrics import Empirical, EmpiricalFisher, Fisher, KroneckerFisher, MonteCarlo
from tests.fishers import FLOAT64, bind, closeness, dense, rand_labels
from tests.laws import oracles
from tests.networks import build, cnn, draw, labels, mlp, network
from tests.placement import device

REST = metrics.Euclidean()


class Mixed(nn.Module):
    """Tokens that meet between two layers, so that a place of the outputs depends on every position."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        h = torch.tanh(self.first(x))
        return self.last(h + h.mean(1, keepdim=True))


def conv_conv():
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 3, 3, stride=2))


SQUARED, LOGITS, CLASSES = nn.MSELoss(), nn.BCEWithLogitsLoss(), nn.CrossEntropyLoss()
PLACES = {
    "images, squared error": (conv_conv, (2, 5, 5), SQUARED, (3, 2, 2)),
    "images, logits": (conv_conv, (2, 5, 5), LOGITS, (3, 2, 2)),
    "images, classes": (conv_conv, (2, 5, 5), CLASSES, (2, 2)),
    "tokens, squared error": (Mixed, (4, 4), SQUARED, (4, 3)),
    "tokens, logits": (Mixed, (4, 4), LOGITS, (4, 3)),
}


@pytest.mark.parametrize("name", PLACES)
def test_outputs_with_places_are_not_taken_for_one_or_for_as_many_samples(name):
    make, shape, loss, target = PLACES[name]
    y = labels(3 * 4).reshape(3, 2, 2) if loss is CLASSES else (draw(3, *target, dtype=FLOAT64) > 0).double()
    bound = geosam.Problem(build(make, dtype=FLOAT64), loss).on(draw(3, *shape, dtype=FLOAT64), y)
    for sampling, cotangents in ((metrics.Exact(), oracles.every_label), (Empirical(), oracles.the_data_s_label)):
        found = dense(KroneckerFisher(0.1, sampling).at(bound), bound.parameters)
        assert closeness(found, oracles.kronecker_fisher(0.1, cotangents)(bound)) < 1e-12


@pytest.mark.parametrize("make", [mlp, cnn])
@pytest.mark.parametrize("loss", [CLASSES, nn.CrossEntropyLoss(label_smoothing=0.1), SQUARED, LOGITS], ids=repr)
def test_the_data_s_labels_give_the_factors_of_the_losses_own_slopes(make, loss):
    bound = bind(loss, make)
    found = dense(KroneckerFisher(0.1, Empirical()).at(bound), bound.parameters)
    assert closeness(found, oracles.kronecker_fisher(0.1, oracles.the_data_s_label)(bound)) < 1e-12


@pytest.mark.parametrize("make", [mlp, cnn])
def test_drawn_labels_give_the_factors_of_these_labels(make):
    bound, sampling = bind(make=make), MonteCarlo(3, torch.Generator(device()).manual_seed(4))
    with sampling.looking():
        seed = sampling.seed()
    with torch.no_grad():
        drawn = rand_labels(3, torch.Generator(device()).manual_seed(seed))(bound.model(bound.x).softmax(1))
    found = dense(KroneckerFisher(0.1, sampling).at(bound), bound.parameters)
    assert closeness(found, oracles.kronecker_fisher(0.1, oracles.these_labels(drawn))(bound)) < 1e-12


@pytest.mark.parametrize("likelihood", [lambda z: torch.distributions.Poisson(z.exp())], ids=["Poisson"])
def test_any_likelihood_and_any_loss_will_do(likelihood):
    model, x = build(lambda: nn.Linear(4, 3), dtype=FLOAT64), draw(1, 4, dtype=FLOAT64)
    bound = geosam.Problem(model, nn.SmoothL1Loss(), likelihood).on(x, draw(1, 3, dtype=FLOAT64))
    for sampling, whole in ((metrics.Exact(), Fisher(0.1)), (Empirical(), EmpiricalFisher(0.1))):
        found = dense(KroneckerFisher(0.1, sampling).at(bound), bound.parameters)
        assert closeness(found, dense(whole.at(bound), bound.parameters)) < 1e-12


def test_soft_targets_are_the_data_s_labels_too():
    model, x = build(lambda: nn.Linear(4, 3), dtype=FLOAT64), draw(1, 4, dtype=FLOAT64)
    bound = geosam.Problem(model, CLASSES).on(x, draw(1, 3, dtype=FLOAT64).softmax(1))
    found = dense(KroneckerFisher(0.1, Empirical()).at(bound), bound.parameters)
    assert closeness(found, dense(EmpiricalFisher(0.1).at(bound), bound.parameters)) < 1e-12


class Flattened(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x.flatten(0, 1))).unflatten(0, x.shape[:2]).mean(1))


class Doubling(nn.Linear):
    def forward(self, x):
        return super().forward(2 * x)


def hooked():
    model = nn.Sequential(nn.Flatten(), nn.Linear(20, 3))
    model[1].register_forward_hook(lambda layer, inputs, output: 2 * output)
    return model


class Mapped(nn.Module):
    """Two heads by ``vmap``: its layers see tensors of a transform."""

    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(20, 3) for _ in range(2))

    def forward(self, x):
        together = {k: torch.stack([getattr(head, k) for head in self.heads]) for k in ("weight", "bias")}
        one = lambda p: torch.func.functional_call(self.heads[0], p, (x.flatten(1),))  # noqa: E731
        return torch.func.vmap(one)(together).mean(0)


def convolution(**how):
    return lambda: nn.Sequential(
        nn.Unflatten(1, (1, 5)), nn.Conv2d(1, 2, (2, 3), **how), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)
    )


PADDING = r"pad zeros on both sides alike; pad by a layer in front of it"
REFUSED = {
    "samples and tokens in one dimension": (Flattened, "first.weight", "fed 30 rows for 6 samples"),
    "a subclass with a forward of its own": (
        lambda: nn.Sequential(nn.Flatten(), Doubling(20, 3)),
        "1.weight",
        "in Doubling, which has a forward of its own",
    ),
    "inside vmap": (Mapped, "heads.0.weight", "inside a transform of torch.func"),
    "an altering hook": (hooked, "1.weight", "altered by a hook"),
    "an even kernel": (convolution(padding="same"), "1.weight", PADDING),
    **{mode: (convolution(padding=1, padding_mode=mode), "1.weight", PADDING) for mode in ("circular", "reflect", "replicate")},
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's, on its own memory
@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_that_is_used_otherwise_is_named_with_the_reason(name):
    make, parameter, reason = REFUSED[name]
    bound = geosam.Problem(build(make), CLASSES).on(draw(6, 5, 4), labels(6))
    with pytest.raises(ValueError, match=rf"does not cover.*{parameter} \(.*{reason}"):
        KroneckerFisher(0.1).at(bound)
    assert KroneckerFisher(0.1, rest=REST).at(bound).norm(bound.parameters) > 0


@pytest.mark.parametrize("old, name", [("weight_norm", "weight_v"), ("spectral_norm", "weight_orig")])
def test_a_weight_that_hooks_compute_is_named_and_its_bias_covered(old, name):
    with pytest.warns(FutureWarning) if old == "weight_norm" else nullcontext():
        model = nn.Sequential(getattr(nn.utils, old)(build(lambda: nn.Linear(4, 3), dtype=FLOAT64)))
    new = nn.Sequential(build(lambda: nn.Linear(4, 3), dtype=FLOAT64)).requires_grad_()
    x, y = draw(6, 4, dtype=FLOAT64), labels(6)
    model.eval()(x)  # leaves a weight with a graph behind
    with torch.no_grad():
        new[0].weight.copy_(model[0].weight)
    bound = geosam.Problem(model, CLASSES).on(x, y)
    with pytest.raises(ValueError, match=rf"0.{name} \(in Linear, whose weight is computed from it\)"):
        KroneckerFisher(0.1).at(bound)
    biases = [dict(m.named_parameters())["0.bias"] for m in (model, new)]
    bounds = [geosam.Problem(m, CLASSES).on(x, y).wrt([bias]) for m, bias in zip((model, new), biases, strict=True)]
    found, want = (dense(KroneckerFisher(0.1).at(b), [bias]) for b, bias in zip(bounds, biases, strict=True))
    assert closeness(found, want) < 1e-12


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.first, self.last, self.reentrant = nn.Linear(4, 6), nn.Linear(6, 3), reentrant

    def forward(self, x):
        return self.last(torch.tanh(checkpoint(self.first, x, use_reentrant=self.reentrant)))


def test_a_checkpoint_counts_its_inputs_once():
    x, y = draw(6, 4, dtype=FLOAT64), labels(6)
    plain = build(lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), dtype=FLOAT64)
    found, want = (
        dense(KroneckerFisher(0.1).at(bound), bound.parameters)
        for bound in (geosam.Problem(m, CLASSES).on(x, y) for m in (build(lambda: Checkpointed(False), dtype=FLOAT64), plain))
    )
    assert closeness(found, want) < 1e-12
    bound = geosam.Problem(build(lambda: Checkpointed(True)), CLASSES).on(draw(6, 4).requires_grad_(), y)
    with pytest.raises(ValueError, match=r"first.weight .used 0 times.*use_reentrant=False"):
        KroneckerFisher(0.1).at(bound)


@pytest.mark.parametrize("part", [False, True])
def test_a_compiled_model_is_looked_at_as_it_was_written(part):
    x, y = draw(6, 4, dtype=FLOAT64), labels(6)
    model: Any = build(mlp, dtype=FLOAT64)
    want = dense(KroneckerFisher(0.1).at(geosam.Problem(model, CLASSES).on(x, y)), list(model.parameters()))
    if part:
        model[0] = torch.compile(model[0], backend="eager")
    else:
        model = torch.compile(model, backend="eager")
    bound = geosam.Problem(model, CLASSES).on(x, y)
    assert torch.equal(dense(KroneckerFisher(0.1).at(bound), bound.parameters), want)


def test_what_is_known_of_a_model_does_not_depend_on_which_parameters_were_asked_for_first():
    model = build(lambda: nn.Sequential(nn.Linear(4, 4), nn.GroupNorm(2, 4), nn.Tanh(), nn.Linear(4, 3)), dtype=FLOAT64)
    p = list(model.parameters())
    x, y, metric = draw(6, 4, dtype=FLOAT64), labels(6), KroneckerFisher(0.1, rest=REST)
    problem = geosam.Problem(model, CLASSES)
    metric.at(problem.on(x, y))
    for chosen in ([p[0], p[1], p[4], p[5], p[2], p[3]], [p[2], p[0]], [p[0], p[1]]):
        fresh = metric.at(geosam.Problem(model, CLASSES).on(x, y).wrt(chosen))
        assert torch.equal(dense(metric.at(problem.on(x, y).wrt(chosen)), chosen), dense(fresh, chosen))


class Routed(nn.Module):
    """A layer that sees the samples whose first entry is positive."""

    def __init__(self):
        super().__init__()
        self.inner, self.last = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        keep = x[:, 0] > 0
        return self.last(x.index_put((keep,), self.inner(x[keep])))


def test_a_layer_that_sees_all_samples_in_one_batch_and_some_in_the_next_is_found_out():
    problem, x = geosam.Problem(build(Routed, dtype=FLOAT64), CLASSES), draw(6, 4, dtype=FLOAT64)
    KroneckerFisher(0.1).at(problem.on(x.abs(), labels(6)))
    with pytest.raises(ValueError, match=r"inner is called otherwise.*\[\d\] rows for 6 samples.*Blockwise"):
        KroneckerFisher(0.1).at(problem.on(x, labels(6)))


def test_how_the_rest_was_solved_is_reported():
    model, x, y = network("LayerNorm")
    metric = KroneckerFisher(0.1, rest=Fisher(1e-6, rows_limit=0, iterations=1))
    seen = geosam.observe(geosam.Problem(model, CLASSES).on(x, y), metric.needs)
    report = geosam.solve(metric.at(seen), seen.gradient, 0.1).report
    assert report["converged"] is False and report["blocks"][1]["iterations"] == 1


@pytest.mark.parametrize("own", [False, True])
def test_a_layer_that_is_altered_later_is_looked_at_again(own):
    """Its block stayed, of a layer that had been as its class defines: 0.97 off."""
    model = build(lambda: nn.Sequential(nn.Flatten(), nn.Linear(20, 3)))
    problem, batch = geosam.Problem(model, CLASSES), (draw(6, 5, 4), labels(6))
    KroneckerFisher(0.1).at(problem.on(*batch))
    if own:
        forward = model[1].forward
        model[1].forward = lambda x: 3 * forward(x)
    else:
        model[1].register_forward_hook(lambda layer, inputs, output: 2 * output)
    with pytest.raises(ValueError, match=r"altered by a hook|forward of its own"):
        KroneckerFisher(0.1).at(problem.on(*batch))
