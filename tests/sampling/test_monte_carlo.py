"""Labels of the model's own, drawn."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Bernoulli, Normal

import geosam
from geosam import metrics
from geosam.metrics import DiagonalFisher, Exact, Fisher, MonteCarlo
from geosam.problem.likelihoods import bernoulli, categorical, gaussian
from tests.fishers import LIKELIHOODS, bind, closeness, epsilon
from tests.networks import build, draw, labels, mlp
from tests.placement import device

FLOAT64 = torch.float64


@pytest.mark.parametrize("tail", [1e-5, 1e-7])
def test_a_score_all_but_opposite_to_the_data_s_is_another_one(tail):
    """Two classes share the mass, the data has one and the draw the other: what is left lies off the span."""
    z = torch.log(torch.tensor([[0.6, 0.4, tail], [0.6, 0.4, tail]], dtype=FLOAT64))
    slopes = z.softmax(1) - torch.eye(3, dtype=FLOAT64)[[0, 0]]
    scores = z.softmax(1) - torch.eye(3, dtype=FLOAT64)[[1, 0]]
    told = MonteCarlo(1).coordinates(categorical, z.float(), scores.float().unsqueeze(0), slopes)
    assert told is not None
    alpha, spanned = told
    assert spanned.tolist() == [False, True] and alpha[0, 1].item() == pytest.approx(1.0)


class Stratified(MonteCarlo):
    """Noise that is an even grid: every label comes up in proportion to its probability, to one part in n."""

    def _noise(self, kind, shape, device):
        grid = (torch.arange(self.n, dtype=FLOAT64) + 0.5) / self.n
        if kind is torch.randn:
            grid = torch.special.ndtri(grid)
        return grid.reshape(-1, *[1] * (len(shape) - 1)).expand(shape)


@pytest.mark.parametrize("likelihood", [categorical, gaussian, lambda z: Bernoulli(logits=z), bernoulli])
def test_drawn_labels_come_up_as_often_as_they_are_likely(likelihood):
    z = draw(4, 1, dtype=FLOAT64) if likelihood is not categorical else draw(4, 3, dtype=FLOAT64)
    exact = Exact().cotangents(likelihood, z).flatten(2)
    drawn = Stratified(20001).cotangents(likelihood, z).flatten(2)
    information = [torch.einsum("kna,knb->nab", u, u) / len(u) for u in (exact, drawn)]
    assert closeness(information[1], information[0]) < 2e-3


@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss(), nn.MSELoss()])
def test_outputs_of_one_number_a_sample_are_those_of_one_column(loss):
    y, norms = torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=FLOAT64), []
    for shape in ((4,), (4, 1)):
        model = nn.Sequential(build(lambda: nn.Linear(3, 1), dtype=FLOAT64), nn.Flatten(len(shape) - 1))
        bound = geosam.Problem(model, loss).on(draw(4, 3, dtype=FLOAT64), y.view(shape))
        for metric in (metrics.Fisher, metrics.DiagonalFisher, metrics.KroneckerFisher):
            norms.append(epsilon(metric(sampling=MonteCarlo(3, torch.Generator().manual_seed(0))), bound))
    for one, other in zip(norms[:3], norms[3:], strict=True):
        torch.testing.assert_close(one, other)


def test_a_label_is_drawn_at_every_place():
    z = draw(5, 3, 4, dtype=FLOAT64)
    assert MonteCarlo(11).cotangents(categorical, z).shape == (11, 5, 3, 4)


@given(st.integers(1, 3), st.lists(st.booleans(), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_a_drawn_score_that_is_parallel_to_a_sample_s_slope_tells_it(draws, matched, seed):
    generator = torch.Generator(device()).manual_seed(seed)
    u = torch.randn(draws, len(matched), 3, generator=generator, dtype=FLOAT64)
    slopes = torch.randn(len(matched), 3, generator=generator, dtype=FLOAT64)
    for i, same in enumerate(matched):
        if same:
            slopes[i] = -0.7 * u[draws - 1, i]
    told = MonteCarlo(draws).coordinates(categorical, torch.zeros(len(matched), 3), u.float(), slopes)
    assert told is not None
    alpha, spanned = told
    assert spanned.tolist() == matched
    torch.testing.assert_close(
        torch.einsum("kn,kne->ne", alpha, u), torch.where(spanned.unsqueeze(1), slopes, 0.0), rtol=1e-5, atol=1e-5
    )


class TestDraws:
    def step(self, sampling, seed=0, steps=1):
        model = build(mlp)
        torch.manual_seed(seed)
        opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), Fisher(0.1, sampling))
        bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
        duals = []
        for _ in range(steps):
            opt.step(bound)
            duals.append(opt.last.dual_norm.item())
        return duals

    def test_a_look_leaves_no_trace_and_sees_the_same_labels_again(self):
        generator = torch.Generator(device()).manual_seed(1)
        before, mine = torch.get_rng_state(), generator.get_state()
        for sampling in (MonteCarlo(2), MonteCarlo(2, generator)):
            for metric in (Fisher(0.1, sampling), Fisher(0.1, sampling, rows_limit=0), DiagonalFisher(0.1, sampling)):
                bound = bind()
                assert torch.equal(epsilon(metric, bound), epsilon(metric, bound))
        assert torch.equal(torch.get_rng_state(), before) and torch.equal(generator.get_state(), mine)

    def test_a_training_step_draws_on(self):
        generator = torch.Generator(device()).manual_seed(1)
        mine = generator.get_state()
        self.step(MonteCarlo(1, generator))
        assert not torch.equal(generator.get_state(), mine)
        torch.manual_seed(5)
        before = torch.get_rng_state()
        geosam.observe(bind(), Fisher(0.1, MonteCarlo(1)).needs, train=True)
        assert not torch.equal(torch.get_rng_state(), before)

    def test_the_same_generator_gives_the_same_steps_and_leaves_torch_s_stream_alone(self):
        first, again = (self.step(MonteCarlo(1, torch.Generator(device()).manual_seed(1)), seed, 3) for seed in (1, 2))
        assert first == again
        assert len(set(first)) == 3 and self.step(MonteCarlo(1), 1) != self.step(MonteCarlo(1), 2)

    def test_other_distributions_sample_under_a_stream_that_the_generator_seeds(self):
        z, before = draw(5, 3, dtype=FLOAT64), torch.get_rng_state()
        poisson = LIKELIHOODS["Poisson"]
        u = [MonteCarlo(4, torch.Generator(device()).manual_seed(1)).cotangents(poisson, z) for _ in range(2)]
        assert torch.equal(*u) and torch.equal(torch.get_rng_state(), before)
        counts = z.exp() - u[0] * math.sqrt(3)  # the score of a Poisson count y in log rate z is y − e^z
        torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-12)

    @pytest.mark.parametrize("n", [0, -1, 1.5, True])
    def test_a_number_of_labels_is_a_number(self, n):
        with pytest.raises(ValueError, match="n ≥ 1"):
            MonteCarlo(n)

    def test_a_label_belongs_to_one_sample(self):
        with pytest.raises(ValueError, match="does not begin with the 5 samples"):
            MonteCarlo(1).cotangents(lambda z: Normal(z.sum(), 1.0), draw(5, 3))

    @pytest.mark.parametrize("other", [Exact, "exact", metrics.Empirical()])
    def test_a_sampling_is_an_object(self, other):
        for metric in (Fisher, DiagonalFisher):
            with pytest.raises(TypeError, match="sampling"):
                metric(0.1, other)


@pytest.mark.parametrize("sampling", [Exact(), MonteCarlo(3)])
def test_a_likelihood_in_which_samples_meet_has_no_scores_of_single_samples(sampling):
    def centred(z: torch.Tensor) -> Normal:
        return Normal(z - z.mean(0), 1.0)

    with pytest.raises(ValueError, match="centred lets samples meet"):
        sampling.cotangents(centred, draw(4, 3, dtype=FLOAT64))


@pytest.mark.parametrize("sampling", [Exact(), MonteCarlo(3)])
def test_a_batch_that_is_second_is_refused_though_it_is_as_long_as_the_first(sampling):
    with pytest.raises(ValueError, match=r"lets samples meet|does not begin with"):
        sampling.cotangents(lambda z: torch.distributions.Categorical(logits=z.T), draw(3, 3, dtype=FLOAT64))
