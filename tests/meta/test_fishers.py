"""The definitions of the Fisher family and of its averages refute what is nearly right."""

import pytest
import torch
from torch import nn

import geosam
from geosam import metrics, norms
from geosam.metrics import Averaged, BlockDiagonal, DiagonalFisher, EmpiricalFisher, Exact, Fisher, KroneckerFisher, MonteCarlo
from geosam.sampling import Sampling
from geosam.testing import LawViolation, check_metric, laws, strategies
from tests.fishers import FLOAT64
from tests.laws import oracles


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


PASSED = set()


def passes(right, problems, want):
    """The definition lets through what is right; it is asked once, though several mutants are of one metric."""
    if repr(right) not in PASSED:
        check_metric(right, problems, laws=[], dense=want, examples=2)
        PASSED.add(repr(right))


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
    passes(right, CLASSES, want)
    with pytest.raises(LawViolation, match="matches_its_definition"):
        check_metric(wrong, CLASSES, laws=[], dense=want, examples=40)


def factored(norm):
    assert isinstance(norm, norms.Kronecker)
    return norm


class PiDamped(metrics.Euclidean):
    """The heuristic: each factor damped by its share of √λ."""

    @property
    def needs(self):
        return KroneckerFisher(0.01).needs

    def local(self, seen):
        right = factored(KroneckerFisher(0.01).local(seen))

        def damped(block):
            share = (block.inner.trace() / len(block.inner) / (block.outer.trace() / len(block.outer))).sqrt()
            outer = block.outer + torch.eye(len(block.outer)) * 0.1 / share
            inner = block.inner + torch.eye(len(block.inner)) * 0.1 * share
            return norms.Factor(block.weight, block.bias, outer, inner)

        return norms.Kronecker([damped(block) for block in right.blocks], right.like, 1e-12)


class Swapped(PiDamped):
    """A ⊗ B."""

    def local(self, seen):
        right = factored(KroneckerFisher(0.01).local(seen))
        blocks = [norms.Factor(b.weight, b.bias, b.outer.flip(0, 1), b.inner) for b in right.blocks]
        return norms.Kronecker(blocks, right.like, 0.01)


class OnePerFactor(PiDamped):
    """B doubled where A is a mean over positions and samples already."""

    def local(self, seen):
        right = factored(KroneckerFisher(0.01).local(seen))
        return norms.Kronecker([norms.Factor(b.weight, b.bias, 2 * b.outer, b.inner) for b in right.blocks], right.like, 0.01)


MLPS = strategies.problems([FLOAT64]).filter(lambda bound: len(bound.model) == 3)


@pytest.mark.parametrize("wrong", [PiDamped(), Swapped(), OnePerFactor()], ids=lambda metric: type(metric).__name__)
def test_the_definition_refutes_another_damping_another_order_and_another_scale(wrong):
    want = oracles.kronecker_fisher(0.01)
    passes(KroneckerFisher(0.01), MLPS, want)
    with pytest.raises(LawViolation, match="matches_its_definition"):
        check_metric(wrong, MLPS, laws=[], dense=want, examples=30)


class FromZero(metrics.Euclidean):
    """Adam's moving average without its correction."""

    @property
    def needs(self):
        return DiagonalFisher(0.1).needs

    def step(self, seen, state):
        norm = DiagonalFisher(0.1).local(seen)
        now = [norm.entries(i) for i in range(len(norm.like))]
        last = state.get("average", [torch.zeros_like(t) for t in now])
        average = [0.9 * a + 0.1 * t for a, t in zip(last, now, strict=True)]
        return geosam.norms.Diagonal.of(average), {"average": average}

    def local(self, seen):
        return DiagonalFisher(0.1).local(seen)


class InPlace(FromZero):
    """Writes into its state."""

    def step(self, seen, state):
        if not state:
            norm = self.local(seen)
            return norm, {"average": [norm.entries(i) for i in range(len(norm.like))]}
        for t in state["average"]:
            t.mul_(0.9)
        return geosam.norms.Diagonal.of([t.clone() for t in state["average"]]), state


@pytest.mark.parametrize("wrong, law", [(FromZero(), laws.first_step_has_no_memory), (InPlace(), laws.its_memory_is_explicit)])
def test_the_laws_refute_an_average_without_its_correction_and_one_in_place(wrong, law):
    problems = strategies.problems([FLOAT64])
    check_metric(Averaged(DiagonalFisher(0.1)), problems, laws=[law], examples=2)
    with pytest.raises(LawViolation, match=law.__name__):
        check_metric(wrong, problems, laws=[law], examples=20)
