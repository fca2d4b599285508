"""The Fisher family: which way a matrix is had, what is drawn once, blocks, refusals, and mutants of the definition."""

import math
import warnings
from contextvars import ContextVar

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Normal
from torch.nn import functional as F

import geosam
from geosam import metrics, norms
from geosam.core import limits
from geosam.engines import BackPACK, Func, Hooks
from geosam.metrics import BlockDiagonal, DiagonalFisher, EmpiricalFisher, Exact, Fisher, MonteCarlo
from geosam.observation import LabelDraws
from geosam.sampling import Sampling
from geosam.testing import LawViolation, check_metric, strategies
from tests.fishers import LIKELIHOODS, WAYS, bind, closeness, dense, epsilon, flat, rand_labels
from tests.laws import oracles
from tests.networks import batch_norm_net, build, draw, dropout_net, labels, mlp, network

FLOAT64 = torch.float64


EARLY = Fisher(1e-6, rows_limit=0, iterations=2)
HALVES = {"0.*": (EARLY, 1.0), "*": (EARLY, 1.0)}
UNFINISHED = {
    "BlockDiagonal": (BlockDiagonal(EARLY), (0, 1)),
    "Blockwise, p = 2": (metrics.Blockwise(HALVES), (0, 1)),
    "Blockwise, p = ∞": (metrics.Blockwise(HALVES, math.inf), (0, 1)),
    "Blockwise with a norm that is no inner product": (
        metrics.Blockwise({"0.*": (norms.Sup(), 1.0), "*": (EARLY, 1.0)}),
        (1,),
    ),
    "the ray of KLExact": (metrics.KLExact(along=BlockDiagonal(EARLY)), (0, 1)),
}


class TestWhichWay:
    def report(self, metric, bound):
        seen = geosam.observe(bound, metric.needs)
        return geosam.solve(metric.at(seen), seen.gradient, 0.1).report

    def test_the_report_says_gram(self):
        assert self.report(Fisher(0.1), bind()) == {"solve": "Gram matrix of 15 rows"}
        assert self.report(Fisher(0.1, MonteCarlo(2)), bind()) == {"solve": "Gram matrix of 10 rows"}

    def test_the_report_says_why_not_and_how_it_ended(self):
        found = self.report(Fisher(0.1, rows_limit=14), bind())
        assert found["solve"] == "conjugate gradients: 15 rows exceed the limit of 14"
        assert found["converged"] and found["ended"] == "tolerance met" and found["residual"] <= 2e-4
        assert 1 <= found["iterations"] <= 15
        found = self.report(Fisher(1e-6, rows_limit=0, iterations=3), bind())
        assert (found["iterations"], found["converged"], found["ended"]) == (3, False, "iterations spent")

    def test_a_run_that_stalls_says_so(self):
        model, x, y = network("mlp")
        bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
        found = self.report(Fisher(1e-9, rows_limit=0, tolerance=1e-12, iterations=10_000), bound)
        assert found["ended"] == "stalled" and not found["converged"]

    @pytest.mark.parametrize("name", UNFINISHED)
    def test_what_wraps_an_iteration_that_ended_early_says_so_too(self, name):
        part = self.report(EARLY, bind())
        assert part["converged"] is False
        wrapped, where = UNFINISHED[name]
        found = self.report(wrapped, bind())
        assert found["converged"] is False
        assert [found["blocks"][b]["ended"] for b in where] == ["iterations spent"] * len(where)

    def test_a_product_s_report_is_empty_where_no_part_has_one_and_converged_where_all_did(self):
        assert self.report(BlockDiagonal(metrics.GradientMagnitude()), bind()) == {}
        parts = {"0.*": (metrics.Euclidean(), 1.0), "*": (Fisher(0.1, rows_limit=0), 1.0)}
        found = self.report(metrics.Blockwise(parts), bind())
        assert found["converged"] is True and list(found["blocks"]) == [1]
        gram = self.report(BlockDiagonal(Fisher(0.1)), bind())
        assert gram == {"blocks": {b: {"solve": "Gram matrix of 15 rows"} for b in (0, 1)}}

    def test_groups_preconditioners_and_sharpness_pass_it_on(self):
        bound = bind()
        parameters = list(bound.model.parameters())
        groups = [{"params": parameters[:2], "rho": 0.1}, {"params": parameters[2:], "rho": 0.2}]
        opt = geosam.SAM(torch.optim.SGD(groups, lr=0.1), EARLY)
        opt.step(bound)
        assert opt.last.report["converged"] is False and len(opt.last.report["blocks"]) == 2
        for by in (EARLY, BlockDiagonal(EARLY)):
            opt = geosam.SAM(torch.optim.SGD(parameters, lr=0.1), objective=geosam.objectives.Preconditioned(by))
            opt.step(bound.wrt(parameters))
            assert opt.last.report["covector"]["converged"] is False
        assert geosam.sharpness(bound, EARLY, 0.1, samples=0, iterations=0, steps=1).report["converged"] is False

    def test_dropout_goes_matrix_free_under_one_mask(self):
        torch.manual_seed(3)
        bound = geosam.Problem(build(dropout_net, dtype=FLOAT64), nn.CrossEntropyLoss()).on(
            draw(6, 4, dtype=FLOAT64), labels(6)
        )
        assert self.report(Fisher(0.1), bound)["solve"] == "conjugate gradients: the forward pass draws random numbers"

    def test_batch_norm_in_training_mode_goes_matrix_free(self):
        bound = geosam.Problem(build(batch_norm_net), nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
        assert self.report(Fisher(0.1), bound)["solve"] == "conjugate gradients: samples meet in a normalisation"
        bound.model.eval()
        assert self.report(Fisher(0.1), bound)["solve"] == "Gram matrix of 18 rows"

    @pytest.mark.parametrize("metric", [Fisher(0.1, MonteCarlo(2)), Fisher(0.1, MonteCarlo(2), rows_limit=0)], ids=repr)
    def test_labels_cannot_be_drawn_where_samples_meet(self, metric):
        bound = geosam.Problem(build(batch_norm_net), nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
        with pytest.raises(ValueError, match=r"samples meet.*Use sampling=metrics.Exact\(\)"):
            metric.at(bound)

    @pytest.mark.parametrize("metric", [DiagonalFisher(), BlockDiagonal(DiagonalFisher())], ids=repr)
    def test_a_diagonal_cannot_be_had_where_samples_meet(self, metric):
        bound = geosam.Problem(build(batch_norm_net), nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
        with pytest.raises(ValueError, match="normalises by the batch's statistics"):
            metric.at(bound)

    def test_samples_that_meet_undeclared_are_found_out_and_go_matrix_free(self):
        class Mixing(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

            def forward(self, x):
                h = self.first(x)
                return self.last(torch.tanh(h - h.mean(0)))

        bound = geosam.Problem(build(Mixing, dtype=FLOAT64), nn.CrossEntropyLoss()).on(draw(6, 4, dtype=FLOAT64), labels(6))
        for _ in range(2):
            found = self.report(Fisher(0.1), bound)
            assert "lets samples meet" in found["solve"] and found["converged"]
        with pytest.raises(ValueError, match="lets samples meet"):
            DiagonalFisher(0.1).at(bound)

    def test_an_engine_without_such_rows_is_named(self):
        found = self.report(Fisher(0.1, engine=BackPACK()), bind())
        assert found["solve"].startswith("conjugate gradients: BackPACK gives no rows")

    def test_rows_that_do_not_fit_into_memory_are_not_formed(self, monkeypatch):
        bound = bind()
        monkeypatch.setattr(limits, "ROWS", 15 * 51 * 8 - 1)
        assert "would take more than" in self.report(Fisher(0.1, engine=Func()), bound)["solve"]
        monkeypatch.setattr(limits, "CHUNK", 1)  # so that what an engine holds is tried: Hooks holds nothing here
        fresh = bind()
        assert self.report(Fisher(0.1, engine=Hooks()), fresh) == {"solve": "Gram matrix of 15 rows"}
        assert "would take more than" in self.report(Fisher(0.1, engine=Func()), fresh)["solve"]


@pytest.mark.parametrize("budget", [1, 3 * 51 * 8 * 2, 2**28])
@pytest.mark.parametrize("engine", [Func(), Hooks()], ids=repr)
def test_the_diagonal_in_chunks_is_the_diagonal(budget, engine, monkeypatch):
    monkeypatch.setattr(limits, "CHUNK", budget)
    bound = bind(nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2], dtype=FLOAT64)))
    metric = DiagonalFisher(0.1, engine=engine)
    seen = geosam.observe(bound, metric.needs)
    assert closeness(dense(metric.at(seen), bound.parameters), oracles.diagonal_fisher(0.1)(bound)) < 1e-9
    assert closeness(flat(seen.gradient), oracles.gradient(bound)) < 1e-12


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
        generator = torch.Generator().manual_seed(1)
        before, mine = torch.get_rng_state(), generator.get_state()
        for sampling in (MonteCarlo(2), MonteCarlo(2, generator)):
            for metric in (Fisher(0.1, sampling), Fisher(0.1, sampling, rows_limit=0), DiagonalFisher(0.1, sampling)):
                bound = bind()
                assert torch.equal(epsilon(metric, bound), epsilon(metric, bound))
        assert torch.equal(torch.get_rng_state(), before) and torch.equal(generator.get_state(), mine)

    def test_a_training_step_draws_on(self):
        generator = torch.Generator().manual_seed(1)
        mine = generator.get_state()
        self.step(MonteCarlo(1, generator))
        assert not torch.equal(generator.get_state(), mine)
        torch.manual_seed(5)
        before = torch.get_rng_state()
        geosam.observe(bind(), Fisher(0.1, MonteCarlo(1)).needs, train=True)
        assert not torch.equal(torch.get_rng_state(), before)

    def test_the_same_generator_gives_the_same_steps_and_leaves_torch_s_stream_alone(self):
        first, again = (self.step(MonteCarlo(1, torch.Generator().manual_seed(1)), seed, 3) for seed in (1, 2))
        assert first == again
        assert len(set(first)) == 3 and self.step(MonteCarlo(1), 1) != self.step(MonteCarlo(1), 2)

    def test_other_distributions_sample_under_a_stream_that_the_generator_seeds(self):
        z, before = draw(5, 3, dtype=FLOAT64), torch.get_rng_state()
        poisson = LIKELIHOODS["Poisson"]
        u = [MonteCarlo(4, torch.Generator().manual_seed(1)).cotangents(poisson, z) for _ in range(2)]
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


class TestBlocks:
    def test_blocks_need_names(self):
        model = build(mlp)
        opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), BlockDiagonal(metrics.GradientMagnitude()))
        with pytest.raises(ValueError, match=r"model.named_parameters\(\).*or pass problem.on"):
            opt.step(lambda: F.cross_entropy(model(draw(6, 4)), labels(6)).backward() or torch.tensor(0.0))

    def test_a_divergence_has_no_blocks(self):
        with pytest.raises(TypeError, match="is a divergence"):
            BlockDiagonal(metrics.KLExact()).at(bind())

    def test_a_block_solves_in_its_own_rows(self):
        model, x, y = build(mlp), draw(6, 4), labels(6)
        found = []
        for dtype in (torch.float32, FLOAT64):
            bound = geosam.Problem(model.to(dtype), nn.CrossEntropyLoss()).on(x.to(dtype), y)
            found.append(epsilon(BlockDiagonal(Fisher(1e-7)), bound))
        assert closeness(*found) < 1e-4

    def test_two_samplings_in_one_geometry_are_two_sets_of_rows(self):
        parts = {"0.*": (Fisher(0.1), 1.0), "*": (Fisher(0.1, MonteCarlo(1, torch.Generator().manual_seed(0))), 1.0)}
        bound, whole = bind(), metrics.Blockwise(parts)
        needs = whole.needs
        assert len({request for request in needs if isinstance(request, LabelDraws)}) == 2
        seen = geosam.observe(bound, needs)
        found = dense(whole.at(seen), bound.parameters)
        assert closeness(found[:30, :30], oracles.fisher(0.1)(bound)[:30, :30]) < 1e-9
        seeded = torch.Generator().manual_seed(0)
        assert closeness(found[30:, 30:], oracles.drawn_fisher(0.1, rand_labels(1, seeded))(bound)[30:, 30:]) < 1e-9


class TestRefusals:
    @pytest.mark.parametrize(
        "metric", [Fisher(), DiagonalFisher(), Fisher(0.1, MonteCarlo(1)), metrics.KroneckerFisher()], ids=repr
    )
    def test_a_loss_that_names_no_distribution(self, metric):
        bound = geosam.Problem(build(mlp), nn.L1Loss()).on(draw(6, 4), draw(6, 3))
        with pytest.raises(TypeError, match=r"needs the model's predictive distribution.*likelihood=lambda"):
            metric.at(bound)

    @pytest.mark.parametrize("metric", [DiagonalFisher(), Fisher(), metrics.KroneckerFisher()], ids=repr)
    def test_a_plain_closure(self, metric):
        model = build(mlp)
        with pytest.raises(TypeError, match=r"Pass problem.on\(x, y\)"):
            geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric).step(lambda: torch.tensor(0.0))

    def test_evidence_that_was_not_asked_for_it(self):
        seen = geosam.observe(bind(), Fisher(0.1).needs)
        with pytest.raises(TypeError, match="DiagonalFisher needs the model's predictive distribution"):
            DiagonalFisher(0.1).at(seen)

    @pytest.mark.parametrize("way", WAYS[:2], ids=str)
    def test_no_damping_where_outputs_are_fewer_than_parameters(self, way):
        with pytest.raises(ValueError, match="rank 15 at most with 51 parameters"):
            Fisher(0.0, **way).at(bind())

    def test_no_damping_where_a_diagonal_has_a_zero(self):
        bound = geosam.Problem(nn.Linear(4, 3), nn.CrossEntropyLoss()).on(torch.eye(4)[:2], labels(2))
        with pytest.raises(ValueError, match="diagonal of the Fisher"):
            DiagonalFisher(0.0).at(bound)

    @pytest.mark.parametrize("limit", [-1, True, 2.5])
    def test_a_limit_counts_rows(self, limit):
        with pytest.raises(ValueError, match="rows_limit"):
            Fisher(0.1, rows_limit=limit)

    def test_outputs_that_are_no_tensor(self):
        class Two(nn.Linear):
            def forward(self, x):
                return {"logits": super().forward(x)}

        problem = geosam.Problem(
            Two(4, 3), lambda z, y: F.cross_entropy(z["logits"], y), lambda z: Categorical(logits=z["logits"])
        )
        with pytest.raises(TypeError, match="one tensor of outputs"):
            DiagonalFisher().at(problem.on(draw(6, 4), labels(6)))


def curvature(kind, bound, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import curvlinops

        operator = getattr(curvlinops, kind)(
            bound.model, bound.loss, list(bound.parameters), [(bound.x, bound.y)], check_deterministic=False, **settings
        )
        return operator @ torch.eye(operator.shape[0], dtype=FLOAT64)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.MSELoss(), nn.BCEWithLogitsLoss()], ids=repr)
def test_curvlinops_agrees_that_it_is_the_generalised_gauss_newton_matrix(loss):
    bound = bind(loss)
    want = curvature("GGNLinearOperator", bound)
    assert closeness(dense(Fisher(1.0).at(bound), bound.parameters), want + torch.eye(51)) < 1e-9
    found = dense(DiagonalFisher(1.0).at(bound), bound.parameters)
    assert closeness(found, want.diagonal().diag() + torch.eye(51)) < 1e-9


@pytest.mark.parametrize(
    "loss, terms",
    [
        (nn.CrossEntropyLoss(), 1),
        (nn.CrossEntropyLoss(label_smoothing=0.1), 1),
        (nn.MSELoss(), 3),
        (nn.BCEWithLogitsLoss(), 3),
    ],
    ids=repr,
)
def test_curvlinops_agrees_on_the_empirical_fisher(loss, terms):
    bound = bind(loss)
    # of a loss that is a mean over a sample's terms it scales the sum's square by 1/terms, where gᵢ is the mean
    want = curvature("EFLinearOperator", bound) / terms
    assert closeness(dense(EmpiricalFisher(1.0).at(bound), bound.parameters), want + torch.eye(51)) < 1e-9
    found = dense(metrics.DiagonalEmpiricalFisher(1.0).at(bound), bound.parameters)
    assert closeness(found, want.diagonal().diag() + torch.eye(51)) < 1e-9


class Given(MonteCarlo):
    """Labels that somebody else drew, [K, n, ...]."""

    def _labels(self, distribution, device):
        return GIVEN.get()


GIVEN = ContextVar("labels")


def curvlinops_labels(loss, z, count, seed):
    """What its Monte Carlo Fisher draws, from a generator of this seed."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(loss, nn.CrossEntropyLoss):
        return z.softmax(1).multinomial(count, replacement=True, generator=generator).T
    if isinstance(loss, nn.BCEWithLogitsLoss):
        return z.sigmoid().expand(count, *z.shape).bernoulli(generator=generator).long()
    return z - torch.normal(torch.zeros(count, *z.shape, dtype=z.dtype), torch.tensor(math.sqrt(0.5)), generator=generator)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.MSELoss(), nn.BCEWithLogitsLoss()], ids=repr)
def test_curvlinops_agrees_on_the_monte_carlo_fisher_of_the_same_labels(loss):
    bound = bind(loss)
    want = curvature("FisherMCLinearOperator", bound, mc_samples=3, seed=7)
    with torch.no_grad():
        GIVEN.set(curvlinops_labels(loss, bound.model(bound.x), 3, 7))
    for way in WAYS[:2]:
        assert closeness(dense(Fisher(1.0, Given(3), **way).at(bound), bound.parameters), want + torch.eye(51)) < 1e-9
    found = dense(DiagonalFisher(1.0, Given(3)).at(bound), bound.parameters)
    assert closeness(found, want.diagonal().diag() + torch.eye(51)) < 1e-9


class Unscaled(Sampling):
    """Exact cotangents without their √K."""

    def count(self, entries):
        return entries

    def cotangents(self, likelihood, outputs):
        return Exact().cotangents(likelihood, outputs) / outputs[0].numel() ** 0.5


class Argmax(MonteCarlo):
    """The likeliest label, for every draw."""

    def _labels(self, distribution, device):
        return distribution.probs.argmax(-1).expand(self.n, -1)


CLASSES = strategies.problems([FLOAT64]).filter(lambda bound: isinstance(bound.loss, nn.CrossEntropyLoss))


@pytest.mark.parametrize(
    "wrong, right, want",
    [
        (EmpiricalFisher(0.01), Fisher(0.01), oracles.fisher(0.01)),
        (Fisher(0.01, Unscaled()), Fisher(0.01), oracles.fisher(0.01)),
        (Fisher(0.01, Argmax(1)), Fisher(0.01), oracles.fisher(0.01)),
        (metrics.DiagonalEmpiricalFisher(0.01), DiagonalFisher(0.01), oracles.diagonal_fisher(0.01)),
        (Fisher(0.01), BlockDiagonal(Fisher(0.01)), oracles.by_module(oracles.fisher(0.0), 0.01)),
    ],
    ids=["the data's labels", "K forgotten", "the likeliest label", "the data's labels in the diagonal", "one block for all"],
)
def test_the_definition_refutes_what_is_nearly_right(wrong, right, want):
    check_metric(right, CLASSES, laws=[], dense=want, examples=8)
    with pytest.raises(LawViolation, match="matches_its_definition"):
        check_metric(wrong, CLASSES, laws=[], dense=want, examples=40)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(
    "metric", [Fisher(0.1), Fisher(), DiagonalFisher(), Fisher(0.1, MonteCarlo(2)), metrics.KroneckerFisher()], ids=repr
)
def test_an_input_that_is_not_finite_gives_no_perturbation(metric, bad):
    bound = geosam.Problem(build(mlp), nn.CrossEntropyLoss()).on(draw(6, 4).index_fill(0, torch.tensor([2]), bad), labels(6))
    seen = geosam.observe(bound, metric.needs)
    found = geosam.solve(metric.at(seen), seen.gradient, 0.1)
    assert not found.finite and all((t == 0).all() for t in found.epsilon)


def test_a_rebased_norm_is_its_base_for_any_other_vector():
    bound = bind()
    metric = Fisher(0.1)
    seen = geosam.observe(bound, metric.needs)
    norm = metric.at(seen)
    assert isinstance(norm, norms.Rebased) and float(norm.logdet()) == pytest.approx(
        float(torch.logdet(oracles.fisher(0.1)(bound))), rel=1e-10
    )
    told, plain = norm.sharp(seen.gradient), norm.sharp(list(seen.gradient))
    assert closeness(flat(told), flat(plain)) < 1e-10
