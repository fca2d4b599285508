"""Which way a Fisher matrix is had, and what the report says of it."""

import math

import pytest
import torch
from torch import nn

import geosam
from geosam import metrics, norms
from geosam.core import limits
from geosam.engines import BackPACK, Func, Hooks
from geosam.metrics import BlockDiagonal, DiagonalFisher, Fisher, MonteCarlo
from tests.fishers import bind, closeness, dense, flat
from tests.laws import oracles
from tests.networks import batch_norm_net, build, draw, dropout_net, labels, network

FLOAT64 = torch.float64


EARLY = Fisher(1e-6, rows_limit=0, iterations=2)
HALVES = {"0.*": (EARLY, 1.0), "*": (EARLY, 1.0)}
UNFINISHED = {
    "BlockDiagonal": (BlockDiagonal(EARLY), (0, 1)),
    "Blockwise, p = 2": (metrics.Blockwise(HALVES), (0, 1)),
    "Blockwise, p = ∞": (metrics.Blockwise(HALVES, math.inf), (0, 1)),
    "Blockwise with a norm that is no inner product": (
        metrics.Blockwise({"0.*": (norms.Sup(), 1.0), "*": (EARLY, 1.0)}),  # type: ignore[dict-item]
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
