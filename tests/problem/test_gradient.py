"""Hooks on parameters, and gradients that the graph does not show."""

import pytest
import torch
from torch import nn

import geosam
from geosam.metrics import DiagonalFisher, EmpiricalFisher, Fisher, GradientMagnitude, KLExact, KroneckerFisher, MonteCarlo
from tests.networks import build, draw, labels, mlp

WITHOUT_ROWS = [Fisher(0.1, rows_limit=0), Fisher(0.1, MonteCarlo(1), rows_limit=0), KroneckerFisher(0.1)]
WITH_ROWS = [Fisher(0.1), DiagonalFisher(0.1), EmpiricalFisher(0.1)]
OF_THE_GRADIENT = [GradientMagnitude(), KLExact(along=GradientMagnitude())]
CHANGES = {
    "mask": lambda g: g * (torch.arange(g.shape[1]) % 2),
    "clip": lambda g: g.clamp(-1e2, 1e2),
    "in place": lambda g: g.mul_(2),
    "nothing": lambda g: None,
    "the same": lambda g: g.clone(),
}


@pytest.mark.parametrize("metric", WITHOUT_ROWS + WITH_ROWS + OF_THE_GRADIENT, ids=lambda metric: type(metric).__name__)
@pytest.mark.parametrize("name", CHANGES)
def test_a_hook_that_changes_gradients_is_refused_by_what_does_not_see_it(metric, name):
    model = build(mlp)
    model[0].weight.register_hook(CHANGES[name])
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
    harmless = metric in OF_THE_GRADIENT or name in ("nothing", "the same") or (metric in WITH_ROWS and name == "clip")
    if harmless:
        metric.at(bound)
        return
    with pytest.raises(ValueError, match=r"0\.weight: a hook" if metric in WITHOUT_ROWS else "a hook on (a|the) parameter"):
        metric.at(bound)
