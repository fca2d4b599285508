"""Blocks of a module each: their own rows, their own sampling, and what has none."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import metrics
from geosam.metrics import BlockDiagonal, Fisher, MonteCarlo
from geosam.observation import LabelDraws
from tests.fishers import bind, closeness, dense, epsilon, rand_labels
from tests.laws import oracles
from tests.networks import build, draw, labels, mlp
from tests.placement import device

FLOAT64 = torch.float64


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

    @pytest.mark.parametrize("metric", [Fisher(), metrics.EmpiricalFisher(), metrics.DiagonalEmpiricalFisher()])
    def test_a_block_without_entries_changes_nothing(self, metric):
        class Headless(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner, self.none = build(mlp), nn.Parameter(torch.empty(0, 2))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.inner(x)

        model = Headless()
        one = epsilon(BlockDiagonal(metric), geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6)))
        other = epsilon(BlockDiagonal(metric), geosam.Problem(model.inner, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6)))
        torch.testing.assert_close(one, other)

    def test_two_samplings_in_one_geometry_are_two_sets_of_rows(self):
        parts = {"0.*": (Fisher(0.1), 1.0), "*": (Fisher(0.1, MonteCarlo(1, torch.Generator(device()).manual_seed(0))), 1.0)}
        bound, whole = bind(), metrics.Blockwise(parts)
        needs = whole.needs
        assert len({request for request in needs if isinstance(request, LabelDraws)}) == 2
        seen = geosam.observe(bound, needs)
        found = dense(whole.at(seen), bound.parameters)
        assert closeness(found[:30, :30], oracles.fisher(0.1)(bound)[:30, :30]) < 1e-9
        seeded = torch.Generator(device()).manual_seed(0)
        assert closeness(found[30:, 30:], oracles.drawn_fisher(0.1, rand_labels(1, seeded))(bound)[30:, 30:]) < 1e-9
