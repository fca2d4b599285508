"""What is wrong is refused by one type of error that names cause and cure; parameters and state stay as they were."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import metrics, norms, objectives, passes, schedules, solvers, updates
from tests.networks import draw
from tests.optim import misuse
from tests.optim.misuse import SGD, Bench, X, Y

HARD = nn.HuberLoss()
HOT = F.one_hot(Y, 3).float()
GAP = updates.SurrogateGap(0.3)

Row = tuple[Callable[[Bench], Any], type[Exception], str, str]
"""(what is called, the error's type, its cause, its cure)."""

CONSTRUCTOR: dict[str, Row] = {
    "parameters for a base": (lambda b: geosam.SAM(b.model.parameters()), TypeError, "got generator", r"SAM\(torch.optim.SGD"),
    "a base's class": (lambda b: geosam.SAM(SGD), TypeError, "got the class SGD", r"SAM\(torch.optim.SGD"),
    "SAM around SAM": (lambda b: geosam.SAM(b.sam()), TypeError, "got SAM", r"SAM\(torch.optim.SGD"),
    "other libraries' order": (
        lambda b: geosam.SAM(b.model.parameters(), SGD, lr=0.1),
        TypeError,
        "lr",
        r"SAM\(torch.optim.SGD",
    ),
    "their keyword": (
        lambda b: geosam.SAM(b.model.parameters(), base_optimizer=SGD),
        TypeError,
        "base_opt",
        r"SAM\(torch.optim",
    ),
    "adaptive": (lambda b: b.sam(adaptive=True), TypeError, "unexpected keyword argument 'adaptive'", "ParameterScaled"),
    "eta": (lambda b: b.sam(eta=0.1), TypeError, "unexpected keyword argument 'eta'", r"GradientMagnitude\(eta"),
    "gamma": (lambda b: b.sam(gamma=0.1), TypeError, "unexpected keyword argument 'gamma'", "is rho"),
    "alpha": (lambda b: b.sam(alpha=0.1), TypeError, "unexpected keyword argument 'alpha'", r"SurrogateGap\(alpha"),
    "a negative radius": (lambda b: b.sam(rho=-0.1), ValueError, "not negative, got -0.1", "rho = 0 is the base"),
    "an infinite radius": (lambda b: b.sam(rho=math.inf), ValueError, "must be finite", "rho = 0 is the base"),
    "a radius that is text": (lambda b: b.sam(rho="0.1"), TypeError, "got '0.1'", "must be a number"),
    "a metric's name": (lambda b: b.sam(metric="euclidean"), TypeError, "got 'euclidean'", r"metrics.Euclidean\(\)"),
    "a metric's class": (lambda b: b.sam(metric=metrics.Monge), TypeError, "is a class", r"pass Monge\(\)"),
    "an objective's class": (lambda b: b.sam(objective=objectives.Smoothed), TypeError, "is a class", r"pass Smoothed\(\)"),
    "a metric for an objective": (
        lambda b: b.sam(objective=metrics.Monge()),
        TypeError,
        "got Monge",
        r"such as geosam.objectives",
    ),
    "a solver's class": (lambda b: b.sam(solver=solvers.Radial), TypeError, "is a class", r"pass Radial\(\)"),
    "a solver's name": (lambda b: b.sam(solver="radial"), TypeError, "got 'radial'", r"such as geosam.solvers"),
    "a move's class": (lambda b: b.sam(move=geosam.Copy), TypeError, "is a class", r"pass Copy\(\)"),
    "an update's name": (lambda b: b.sam(update="gsam"), TypeError, "got 'gsam'", r"such as geosam.updates.Sharp\(\)"),
    "a policy's name": (lambda b: b.sam(passes="late"), TypeError, "got 'late'", r"such as geosam.passes"),
    "a ball of batches": (lambda b: b.sam(ball="batch"), ValueError, "got 'batch'", "one of global, rank"),
    "statistics of no pass": (lambda b: b.sam(batchnorm="never"), ValueError, "got 'never'", "first, both, second"),
    "clipping to nothing": (lambda b: b.sam(max_norm=0.0), ValueError, "got 0.0", "None for no clipping"),
    "nothing to train": (lambda b: b.model.requires_grad_(False) and b.sam(), ValueError, "requires a gradient", "to perturb"),
    "complex parameters": (misuse.complex_valued, NotImplementedError, "parameter 0 is complex", r"view_as_real"),
}
PARTS: dict[str, Row] = {
    "a schedule of no steps": (lambda b: schedules.Cosine(0.1, 0.0, 0), ValueError, "got 0", "whole number ≥ 1"),
    "a schedule between two rates alike": (
        lambda b: schedules.FollowLR(0.1, 0.1, 0.1, 0.1),
        ValueError,
        "got 0.1 and",
        "larger",
    ),
    "every 0th step": (lambda b: passes.Every(0), ValueError, "got 0", "whole number ≥ 1"),
    "late from a fraction": (lambda b: passes.Late(0.8), ValueError, "got 0.8", "whole number ≥ 1"),
    "no steps of ascent": (lambda b: solvers.MultiStep(0), ValueError, "got 0", r"1 is DualNorm\(\)"),
    "a share beyond one": (lambda b: solvers.Unified(1.5), ValueError, "got 1.5", "between 0"),
    "no rise": (lambda b: solvers.LinearRise(0.0), ValueError, "must be positive", "rho = 0 is the base"),
    "a memory that never forgets": (lambda b: objectives.Smoothed(1.0), ValueError, "got 1.0", "0 gives the plain gradient"),
    "a residual of nothing": (lambda b: objectives.Residual(decay=0.0), ValueError, "got 0.0", r"must lie in \(0, 1\)"),
    "noise without damping": (
        lambda b: objectives.NoiseWeighted(damping=0.0),
        ValueError,
        "divides by the noise",
        "damping > 0",
    ),
    "a gap of infinity": (lambda b: updates.SurrogateGap(math.inf), ValueError, "got inf", "0 is SAM's own"),
    "a negative damping": (lambda b: metrics.EmpiricalFisher(-1.0), ValueError, "not negative", "damping must be finite"),
    "a damping that is text": (lambda b: metrics.Fisher("0.1"), TypeError, "got '0.1'", "must be a number"),
    "an engine's name": (lambda b: metrics.EmpiricalFisher(engine="hooks"), TypeError, "got 'hooks'", r"engines.Auto\(\)"),
    "a number of samples": (lambda b: metrics.Fisher(sampling=5), TypeError, "got 5", r"metrics.Exact\(\)"),
    "KL along KL": (lambda b: metrics.KLExact(along=metrics.KLExact()), TypeError, "another divergence", "a norm"),
    "a loss's class": (
        lambda b: geosam.Problem(b.model, nn.MSELoss),
        TypeError,
        "Sequential and the class MSELoss",
        "a loss to call",
    ),
    "the loss first": (lambda b: geosam.Problem(nn.MSELoss(), b.model), TypeError, "Problem", "in this order"),
    "labels in a list": (lambda b: b.problem.on(X, ["a"] * len(X)), TypeError, "one tensor", r"torch\.as_tensor\(y\)"),
    "sizes that differ": (lambda b: b.problem.on(X, Y[:5]), ValueError, r"\(6, 4\).*\(5,\)", "first dimension"),
    "an empty batch": (lambda b: b.problem.on(X[:0], Y[:0]), ValueError, "empty", "empty"),
}
STEP: dict[str, Row] = {
    "no closure": (lambda b: b.sam().step(), TypeError, "needs a closure", r"problem\.on\(x, y\)"),
    "a loss": (lambda b: b.step(1.0), TypeError, "got float", r"problem\.on\(x, y\)"),
    "a problem without its batch": (lambda b: b.step(b.problem), TypeError, "Problem", r"problem\.on\(x, y\)"),
    "a closure without a loss": (lambda b: b.step(lambda: b.closure() and None), TypeError, "returned None", "return loss"),
    "a closure without backward": (lambda b: b.step(b.loss), RuntimeError, "left every gradient", r"loss.backward\(\)"),
    "a closure that returns outputs": (lambda b: b.step(lambda: b.closure() + X), TypeError, r"shape \(6, 4\)", "one number"),
    "a closure that adds up": (
        lambda b: b.step(partial(misuse.added, b)),
        RuntimeError,
        "adds to the gradients",
        r"opt.zero_grad\(\)",
    ),
    "a closure that clips": (
        lambda b: b.step(partial(misuse.clipped, b), metric=metrics.GradientMagnitude(damping=1e-3)),
        RuntimeError,
        "clips gradients by norm",
        "max_norm=",
    ),
    "a closure that scales": (lambda b: b.step(partial(misuse.scaled, b)), RuntimeError, "times the loss", "scaler=scaler"),
    "rows of a closure": (
        lambda b: b.step(b.closure, metric=metrics.EmpiricalFisher()),
        TypeError,
        "only the batch",
        "problem.on",
    ),
    "a Fisher of a closure": (
        lambda b: b.step(b.closure, metric=metrics.Fisher()),
        TypeError,
        "a plain closure",
        r"problem\.on",
    ),
    "KL of a closure": (lambda b: b.step(b.closure, metric=metrics.KLExact()), TypeError, "a plain closure", r"problem\.on"),
    "a rise of a closure": (
        lambda b: b.step(b.closure, solver=solvers.ExactRise(0.1)),
        TypeError,
        "evaluates the loss",
        "problem.on",
    ),
    "a loss without a likelihood": (
        lambda b: b.step(geosam.Problem(b.model, HARD).on(X, HOT), metric=metrics.Fisher()),
        TypeError,
        "predictive distribution",
        "likelihood=",
    ),
    "a loss of every sample": (
        lambda b: b.step(geosam.Problem(b.model, nn.CrossEntropyLoss(reduction="none")).on(X, Y)),
        ValueError,
        "reduction='none'",
        "reduction='mean'",
    ),
    "targets that would broadcast": (
        lambda b: b.step(geosam.Problem(b.model, nn.MSELoss()).on(X, draw(6, 1))),
        ValueError,
        "broadcasting",
        "Reshape",
    ),
    "a divergence with a norm's solver": (
        lambda b: b.step(metric=metrics.KLExact(along=metrics.Euclidean()), solver=solvers.DualNorm()),
        TypeError,
        "needs a norm",
        r"solvers.Radial\(\)",
    ),
    "a norm with a divergence's solver": (
        lambda b: b.step(solver=solvers.Radial()),
        TypeError,
        "needs a divergence",
        r"solvers.DualNorm\(\)",
    ),
    "a natural update of a sup norm": (
        lambda b: b.step(metric=norms.Sup(), update=updates.Natural()),
        TypeError,
        "not linear",
        r"updates.Natural\(metrics.Fisher\(\)\)",
    ),
    "sparse gradients of GSAM": (misuse.sparse, TypeError, "needs dense ones", "sparse=False"),
    "parameters in one place": (misuse.overlapping, ValueError, "in one place in memory", r"clone\(\)"),
    "Swap on a view": (misuse.swapped, ValueError, "shares its storage", r"move=geosam.Copy\(\)"),
    "another model's problem": (lambda b: b.step(misuse.bench().bound), ValueError, "belong to different models", "model"),
    "LBFGS with a scaler": (
        lambda b: misuse.searching(b).step(b.bound, scaler=torch.amp.GradScaler("cpu")),
        TypeError,
        "cannot drive LBFGS",
        "use bfloat16",
    ),
    "radii that differ, as one": (lambda b: misuse.radii(b).rho, ValueError, "radii of their own", r"opt.param_groups"),
    "captured on a CPU": (lambda b: b.sam().captured(b.problem, X, Y), RuntimeError, "are on cpu", r"opt.step\("),
}
TRAINERS: dict[str, Row] = {
    "scaler.step": (lambda b: misuse.through_scaler(b.sam(), b), TypeError, "cannot see both", r"scaler.step\(opt.base\)"),
    "until the end": (lambda b: b.sam().perturb(b.bound, until="end"), ValueError, "got 'end'", "step, backward"),
    "perturb for LBFGS": (lambda b: misuse.searching(b).perturb(b.bound), TypeError, "several times", r"opt.step\(closure\)"),
    "until backward with GSAM": (
        lambda b: b.sam(update=GAP).perturb(b.bound, until="backward"),
        ValueError,
        "when the base optimizer steps",
        "until='step'",
    ),
    "two backward passes": (lambda b: misuse.twice(b.sam(), b), RuntimeError, "second backward", "before each backward"),
    "perturb with rows of a closure": (
        lambda b: b.sam(metric=metrics.EmpiricalFisher()).perturb(b.closure),
        TypeError,
        "a plain closure",
        r"problem\.on\(x, y\)",
    ),
    "a list with a closure": (lambda b: b.step([b.bound, b.closure]), TypeError, "micro-batches|problem", r"problem\.on"),
    "an empty list": (lambda b: b.step([]), ValueError, "list of micro-batches is empty", "no samples"),
    "ε after its block": (lambda b: misuse.outside(b.sam(), b), RuntimeError, "lives inside", "copy it there"),
    "GSAM without its second gradient": (
        lambda b: misuse.by_hand(b.sam(update=GAP), b),
        RuntimeError,
        "were not left in .grad",
        "inside the block",
    ),
    "first_step": (lambda b: b.sam().first_step(), AttributeError, "has an attribute", r"opt\.perturb\("),
    "second_step": (lambda b: b.sam().second_step(), AttributeError, "has an attribute", r"opt\.step\("),
    "descent_step": (lambda b: b.sam().descent_step(), AttributeError, "has an attribute", r"opt\.step\("),
}
MEASURE: dict[str, Row] = {
    "a problem for its batch": (
        lambda b: geosam.compare(b.problem, [metrics.Euclidean()], rho=0.1),
        TypeError,
        "got",
        r"such as problem.on\(x, y\)",
    ),
    "a model for its batch": (lambda b: metrics.Euclidean().at(b.model), TypeError, "got", r"such as problem.on\(x, y\)"),
    "a number to match": (
        lambda b: geosam.compare(b.bound, [metrics.Euclidean()], match=0.01),
        TypeError,
        "got",
        r"geosam.KL\(0.01\)",
    ),
    "a number to calibrate by": (
        lambda b: geosam.calibrate(b.bound, metrics.Euclidean(), 0.01),
        TypeError,
        "got",
        r"KL\(0.01\)",
    ),
    "a covector of other shapes": (
        lambda b: geosam.solve(metrics.EmpiricalFisher().at(b.bound), [torch.zeros(2)], 0.1),
        ValueError,
        r"shapes \[\(2,\)\]",
        "are not those of the geometry",
    ),
    "a model for its factory": (
        lambda b: geosam.ablate(b.model, (X, Y), {"a": None}),
        TypeError,
        "model",
        "function of the seed",
    ),
}
ROOMS = {"SAM": CONSTRUCTOR, "parts": PARTS, "step": STEP, "trainers": TRAINERS, "measure": MEASURE}
ROWS = {f"{room}: {name}": row for room, rows in ROOMS.items() for name, row in rows.items()}


@pytest.mark.parametrize("name", ROWS)
def test_the_error_names_cause_and_cure(name):
    act, kind, cause, cure = ROWS[name]
    b = misuse.bench()
    before = copy.deepcopy(b.model.state_dict())
    with pytest.raises(kind) as caught:
        act(b)
    said = str(caught.value)
    assert re.search(cause, said, re.S) and re.search(cure, said, re.S), said
    assert all(torch.equal(v, before[k]) for k, v in b.model.state_dict().items())


def test_there_are_enough_of_them():
    assert len(ROWS) >= 60
