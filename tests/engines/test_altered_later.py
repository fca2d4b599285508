"""BackPACK takes a layer's output for what its class computes: a hook that comes later is looked at anew."""

import pytest
import torch
from torch import nn

import geosam
from geosam.engines import BackPACK, Func
from geosam.metrics import EmpiricalFisher
from tests.networks import build, draw, labels, mlp

pytest.importorskip("backpack")


def test_rows_of_a_layer_whose_output_is_doubled_later():
    model = build(mlp, dtype=torch.float64)
    problem, batch = geosam.Problem(model, nn.CrossEntropyLoss(), check="first"), (draw(6, 4, dtype=torch.float64), labels(6))
    v = [torch.ones_like(p) for p in model.parameters()]
    for _ in range(11):
        EmpiricalFisher(0.1, BackPACK()).at(problem.on(*batch))
    first = next(m for m in model.modules() if isinstance(m, nn.Linear))
    first.register_forward_hook(lambda layer, inputs, output: 2 * output)
    found, want = (EmpiricalFisher(0.1, engine).at(problem.on(*batch)).flat(v) for engine in (BackPACK(), Func()))
    torch.testing.assert_close(found, want)


def test_a_hook_that_is_put_on_anew_in_each_step_is_the_same_one():
    model = build(mlp)
    problem, sizes = geosam.Problem(model, nn.CrossEntropyLoss()), []
    for _ in range(4):
        handle = model.register_forward_hook(lambda layer, inputs, output: None)
        EmpiricalFisher(0.1, BackPACK()).at(problem.on(draw(6, 4), labels(6)))
        handle.remove()
        sizes.append(len(problem._memory))
    assert sizes[1:] == sizes[1:2] * 3
