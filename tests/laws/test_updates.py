"""Laws of updates, each with an update that breaks it; the inverse of every metric against its dense matrix."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import metrics, norms, updates
from geosam.core import vectors as vec
from geosam.optim.updates import Natural, Sharp, SurrogateGap
from tests.laws import oracles
from tests.laws.metric_cases import CASES
from tests.networks import build, draw, labels, mlp

X, Y, RHO = draw(8, 4, dtype=torch.float64), labels(8), 0.1
ALL, HALVES = slice(None), (slice(0, 4), slice(4, 8))


def flat(tensors):
    return torch.cat([t.detach().double().reshape(-1) for t in tensors])


@dataclass(frozen=True)
class Row:
    """formula: (g, s, G), flat, ↦ the update. metric: the ball's. dense: problem ↦ G there, by definition."""

    name: str
    update: updates.Update
    formula: Callable
    metric: geosam.Metric = field(default_factory=metrics.Euclidean)
    dense: Callable = oracles.euclidean
    tolerance: float = 1e-9


def gap(g, s, _):
    return s - 0.7 * (g - s * (g @ s) / (s @ s))


def solved(g, s, matrix):
    return torch.linalg.solve(matrix, s)


EMPIRICAL = metrics.EmpiricalFisher(0.01), oracles.empirical_fisher(0.01)
MAGNITUDE = metrics.GradientMagnitude(1.0, 0.1), oracles.gradient_magnitude(1.0, 0.1)
ROWS = [
    Row("Sharp", Sharp(), lambda g, s, _: s),
    Row("SurrogateGap", SurrogateGap(0.7), gap),
    Row("Natural, rows", Natural(), solved, *EMPIRICAL),
    Row("Natural, gradient", Natural(), solved, *MAGNITUDE),
    Row("Natural, not the ball's", Natural(EMPIRICAL[0]), solved, metrics.Euclidean(), EMPIRICAL[1]),
]
OF_METRICS = [
    Row(case.name, Natural(), solved, case.metric, case.dense, max(10 * case.exact, 1e-9)) for case in CASES if case.dense
]


class Run:
    """Steps of SGD with learning rate 1, so that a step is the update."""

    def __init__(self, row, rho=RHO):
        self.row, self.model = row, build(mlp, dtype=torch.float64)
        self.problem = geosam.Problem(self.model, nn.CrossEntropyLoss())
        self.opt = geosam.SAM(
            torch.optim.SGD(self.model.parameters(), lr=1.0), row.metric, rho, update=copy.deepcopy(row.update)
        )

    def on(self, part=ALL):
        return self.problem.on(X[part], Y[part])

    def moved(self, take):
        """θ before less θ after."""
        before = flat(self.model.parameters()).clone()
        take()
        return before - flat(self.model.parameters())

    def plain(self, part=ALL):
        return flat(torch.autograd.grad(F.cross_entropy(self.model(X[part]), Y[part]), list(self.model.parameters())))

    def seen(self, part=ALL):
        """(g, s, G): by autograd and by definition, at the optimizer's own ε*."""
        g, matrix = self.plain(part), self.row.dense(self.on(part))
        if not self.opt.rho:
            return g, g, matrix
        with self.opt.perturbed(self.on(part)):
            return g, self.plain(part), matrix

    def close(self, found, want):
        assert float((found - want).norm()) <= self.row.tolerance * float(want.norm())


def follows_its_formula(row):
    run = Run(row)
    run.close(run.moved(lambda: run.opt.step(run.on())), row.formula(*Run(row).seen()))


def at_rest_takes_one_gradient_for_both(row):
    run = Run(row, rho=0.0)
    run.close(run.moved(lambda: run.opt.step(run.on())), row.formula(*Run(row, rho=0.0).seen()))


def means_what_first_passes_of_one_step_say(row):
    """One before each micro-batch: the mean gradient, and the mean over first passes of what the update makes of it."""

    def take(run):
        for part in HALVES:
            run.opt.perturb(run.on(part))
            (F.cross_entropy(run.model(X[part]), Y[part]) / 2).backward()
        run.opt.base.step()

    run, seen = Run(row), [Run(row).seen(part) for part in HALVES]
    s = torch.stack([s for _, s, _ in seen]).mean(0)
    run.close(run.moved(lambda: take(run)), torch.stack([row.formula(g, s, matrix) for g, _, matrix in seen]).mean(0))


def carries_the_scale_of_a_scaler(row):
    """Gradients times 1024 give the update times 1024."""
    run = Run(row)
    g, s, matrix = run.seen()
    reads = row.update.reads(row.metric)
    given = [vec.unflatten(g, list(run.model.parameters())), torch.tensor(True), *([reads.at(run.on())] if reads else [])]
    for scale in (1.0, 1024.0):
        for p, t in zip(run.model.parameters(), vec.unflatten(scale * s, list(run.model.parameters())), strict=True):
            p.grad = t.clone()
        row.update.apply(row.update.keep(*given), list(run.model.parameters()), scale)
        run.close(flat([p.grad for p in run.model.parameters()]), scale * row.formula(g, s, matrix))


def leaves_out_what_has_no_gradient(row):
    run = Run(row)
    run.opt.perturb(run.on())
    F.cross_entropy(run.model(X), Y).backward()
    run.model[0].bias.grad = None
    run.opt.base.step()
    assert run.model[0].bias.grad is None


def a_bad_first_pass_leaves_nothing_behind(row):
    """Its step moves nothing, or by its second gradient; the next one is that of a run that had not seen it."""
    run, twin = Run(row), Run(row)
    bad = run.problem.on(torch.full_like(X, torch.inf), Y)
    theta = [p.detach().clone() for p in run.model.parameters()]
    run.opt.perturb(bad)
    for p in run.model.parameters():
        p.grad = torch.ones_like(p)
    moved = run.moved(run.opt.base.step)
    assert torch.equal(moved, 0 * moved) or torch.allclose(moved, torch.ones_like(moved))
    vec.copy_([p.data for p in run.model.parameters()], theta)
    run.opt.zero_grad()
    run.close(run.moved(lambda: run.opt.step(run.on())), twin.moved(lambda: twin.opt.step(twin.on())))


LAWS = [
    follows_its_formula,
    at_rest_takes_one_gradient_for_both,
    means_what_first_passes_of_one_step_say,
    carries_the_scale_of_a_scaler,
    leaves_out_what_has_no_gradient,
    a_bad_first_pass_leaves_nothing_behind,
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_law_holds(law, row):
    law(row)


@pytest.mark.parametrize("row", OF_METRICS, ids=lambda row: row.name)
def test_the_inverse_is_that_of_the_metric_by_definition(row):
    follows_its_formula(row)
    at_rest_takes_one_gradient_for_both(row)


class Wrapped(updates.Update):
    """Right but for what a mutant overrides."""

    def __init__(self):
        self.right = Natural()

    def reads(self, ball):
        return self.right.reads(ball)

    def keep(self, gradient, finite, norm=None):
        return self.right.keep(gradient, finite, norm)

    def joined(self, kept, other, times):
        return self.right.joined(kept, other, times)

    def apply(self, kept, parameters, scale):
        self.right.apply(kept, parameters, scale)

    def at_rest(self, kept, gradient, parameters):
        return self.right.at_rest(kept, gradient, parameters)


class NotInverted(Wrapped):
    def apply(self, kept, parameters, scale):
        vec.copy_([p.grad for p in parameters], kept[0][0].flat([p.grad for p in parameters]))


class Normalised(Wrapped):
    """ε*'s direction: ♯s/‖s‖*."""

    def apply(self, kept, parameters, scale):
        s = [p.grad for p in parameters]
        v, dual = kept[0][0].ascend(s)
        vec.copy_(s, vec.scale(v, 1 / dual))


class TheSecondPass(Wrapped):
    """ḡ² of the gradient that it is applied to, at θ + ε*."""

    def apply(self, kept, parameters, scale):
        vec.copy_([p.grad for p in parameters], [p.grad / (0.1 + p.grad**2) for p in parameters])


class NotAtRest(Wrapped):
    def at_rest(self, kept, gradient, parameters):
        return gradient


class TheLast(Wrapped):
    def joined(self, kept, other, times):
        return other


class SetsAll(Wrapped):
    def apply(self, kept, parameters, scale):
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        super().apply(kept, parameters, scale)


class Remembers(Wrapped):
    """Averages gradients in the object."""

    def __init__(self):
        super().__init__()
        self.average = 0.0

    def keep(self, gradient, finite, norm=None):
        self.average = 0.5 * self.average + 0.0 * float(gradient[0].sum())
        return super().keep(gradient, finite, norm)

    def apply(self, kept, parameters, scale):
        super().apply(kept, parameters, scale)
        parameters[0].grad.add_(self.average)


class Unscaled(updates.SurrogateGap):
    """Of GSAM, the gradient that is subtracted without the scaler's factor."""

    def apply(self, kept, parameters, scale):
        super().apply(kept, parameters, 1.0)


MUTANTS = [
    (follows_its_formula, NotInverted(), MAGNITUDE),
    (follows_its_formula, Normalised(), MAGNITUDE),
    (follows_its_formula, TheSecondPass(), MAGNITUDE),
    (at_rest_takes_one_gradient_for_both, NotAtRest(), MAGNITUDE),
    (means_what_first_passes_of_one_step_say, TheLast(), MAGNITUDE),
    (carries_the_scale_of_a_scaler, Unscaled(0.7), ()),
    (leaves_out_what_has_no_gradient, SetsAll(), MAGNITUDE),
    (a_bad_first_pass_leaves_nothing_behind, Remembers(), MAGNITUDE),
]


@pytest.mark.parametrize(
    "law, wrong, geometry", MUTANTS, ids=lambda x: type(x).__name__ if isinstance(x, updates.Update) else ""
)
def test_the_law_refutes(law, wrong, geometry):
    with pytest.raises(AssertionError):
        law(Row("wrong", wrong, solved if geometry else gap, *geometry))


def test_every_law_refutes_something_and_every_update_is_in_the_table():
    assert {law for law, *_ in MUTANTS} == set(LAWS)
    own = [c for c in vars(updates).values() if isinstance(c, type) and not get_args(c) and issubclass(c, updates.Update)]
    assert {type(row.update) for row in ROWS} == {*own} - {updates.Update}


NOT_LINEAR = [norms.Sup(), norms.Spectral(), metrics.KLExact(metrics.Euclidean()), metrics.Blockwise({"*": (norms.Sup(), 1.0)})]
NOT_LINEAR += [metrics.Blockwise({"*": (metrics.Euclidean(), 1.0)}, p=float("inf"))]


@pytest.mark.parametrize("metric", NOT_LINEAR, ids=lambda m: type(m).__name__)
def test_what_has_no_linear_inverse_is_refused_and_nothing_is_moved(metric):
    for rho in (RHO, 0.0):
        run = Run(Row("", Natural(), solved, metric), rho)
        with pytest.raises(TypeError, match=r"its ♯ is not linear.*updates\.Natural\(metrics\.Fisher\(\)\)"):
            run.opt.step(run.on())
        assert torch.equal(flat(run.model.parameters()), flat(Run(ROWS[0]).model.parameters()))
    named = Run(Row("", Natural(metrics.Euclidean()), lambda g, s, _: s, metric))
    named.close(named.moved(lambda: named.opt.step(named.on())), Run(named.row).seen()[1])
