"""Small random models with batches and losses, and observations at extreme scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor, nn
from torch.nn.utils import skip_init

from ...core import Vectors
from ...core import vectors as vec
from ...observation import Observation
from ...problem import Bound, Problem
from .covectors import covectors
from .vectors import spaces, ticks, vectors

_SMOOTH: tuple[Callable[[], nn.Module], ...] = (nn.Tanh, nn.GELU)


def _mlp(inputs: int, outputs: int, width: int, activation: nn.Module) -> nn.Module:
    return nn.Sequential(skip_init(nn.Linear, inputs, width), activation, skip_init(nn.Linear, width, outputs))


def _cnn(outputs: int, width: int, activation: nn.Module) -> nn.Module:
    """On one-channel images of 3 × 3; BatchNorm with frozen statistics, so that there are buffers."""
    head = skip_init(nn.Linear, 4 * width, outputs)
    norm = skip_init(nn.BatchNorm2d, width)
    with torch.no_grad():
        norm.running_mean.fill_(0.1)
        norm.running_var.fill_(1.3)
        norm.num_batches_tracked.fill_(7)
    return nn.Sequential(skip_init(nn.Conv2d, 1, width, 2), norm, activation, nn.Flatten(), head).eval()


@st.composite
def models(draw: DrawFn, outputs: int, smooth: bool = False) -> tuple[nn.Module, tuple[int, ...]]:
    """(model, shape of one input): an MLP, a net of tanh units, or a small CNN; weights are multiples of 1/128 up to 1."""
    activation = draw(st.sampled_from(_SMOOTH if smooth else (nn.ReLU, *_SMOOTH)))()
    if draw(st.booleans()):
        inputs = draw(st.integers(1, 3))
        shape: tuple[int, ...] = (inputs,)
        model = _mlp(inputs, outputs, draw(st.integers(1, 3)), activation)
    else:
        shape, model = (1, 3, 3), _cnn(outputs, draw(st.integers(1, 2)), activation)
    parameters = list(model.parameters())
    flat = torch.from_numpy(draw(ticks(vec.count(parameters))))
    with torch.no_grad():
        vec.copy_(parameters, vec.unflatten(flat, parameters))
    return model, shape


@st.composite
def batches(draw: DrawFn, shape: tuple[int, ...], outputs: int, samples: int = 5) -> tuple[nn.Module, Tensor, Any]:
    """(loss, x, y) for cross-entropy (with label smoothing or not), squared error or binary cross-entropy."""
    n = draw(st.integers(1, samples))
    x = torch.from_numpy(draw(ticks(n * math.prod(shape))).reshape(n, *shape))
    labels = torch.tensor(draw(st.lists(st.integers(0, outputs - 1), min_size=n, max_size=n)))
    kind = draw(st.integers(0, 3))
    if kind < 2:
        return nn.CrossEntropyLoss(label_smoothing=0.1 * kind), x, labels
    if kind == 2:
        return nn.MSELoss(), x, torch.from_numpy(draw(ticks(n * outputs)).reshape(n, outputs)) + 2
    return nn.BCEWithLogitsLoss(), x, nn.functional.one_hot(labels, outputs).double()


@st.composite
def _bound(draw: DrawFn, dtype: torch.dtype, smooth: bool, samples: int) -> Bound:
    outputs = draw(st.integers(2, 3))
    model, shape = draw(models(outputs, smooth))
    loss, x, y = draw(batches(shape, outputs, samples))
    model, x = model.to(dtype), x.to(dtype)
    y = y.to(dtype) if y.is_floating_point() else y
    return Problem(model, loss).on(x, y)


def problems(
    dtypes: Sequence[torch.dtype] = (torch.float64, torch.float32), smooth: bool = False, samples: int = 5
) -> SearchStrategy[Bound]:
    """A small model bound to a batch on which its gradient is not 0. smooth: no kinks in the activation."""
    return st.sampled_from(dtypes).flatmap(lambda dtype: _bound(dtype, smooth, samples)).filter(_has_a_gradient)


def _has_a_gradient(bound: Bound) -> bool:
    loss = bound.loss(bound.call(bound.model), bound.y)
    gradient = torch.autograd.grad(loss, list(bound.parameters))
    return float(vec.sup(gradient)) > 1e-6


@st.composite
def observations(draw: DrawFn, dtypes: Sequence[torch.dtype] = (torch.float64, torch.float32)) -> Observation:
    """Observations as from a closure: any parameters, and a gradient of any supported scale."""
    like: Vectors = draw(spaces(dtypes))
    return Observation(draw(vectors(like)), draw(covectors(like)), torch.ones((), dtype=like[0].dtype))
