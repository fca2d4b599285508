"""Laws of a field θ ↦ value, a metric or an objective. ``read`` turns its value into tensors that can be compared."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ...core import Vectors
from ...observation import Field, name_of, observe
from ...problem import Bound
from ..measure import holds, identical

Read = Callable[[Any], Vectors]


def at_is_deterministic(field: Field[Any], bound: Bound, read: Read) -> None:
    """``at`` gives the same value twice, bit for bit, whatever it saw in between: it reads the point, and keeps nothing."""
    used = copy.deepcopy(field)
    with _elsewhere(bound):
        read(used.at(bound))
    identical("the value, and the value after a look at other parameters", read(field.at(bound)), read(used.at(bound)))


def sees_only_what_it_needs(field: Field[Any], bound: Bound, read: Read) -> None:
    """The value at an observation that holds what ``needs`` says is the value at the problem."""
    seen = observe(bound, field.needs, name_of(field))
    identical("the value at the observation", read(field.at(seen)), read(field.at(bound)))


def first_step_has_no_memory(field: Field[Any], bound: Bound, read: Read) -> None:
    """``step`` with an empty state is ``local``."""
    seen = observe(bound, field.needs, name_of(field))
    identical("the value of the first step", read(field.step(seen, {})[0]), read(field.local(seen)))


def its_memory_is_explicit(field: Field[Any], bound: Bound, read: Read) -> None:
    """``step`` depends on observation and state alone, and does not write into the state."""
    seen = observe(bound, field.needs, name_of(field))
    _, state = field.step(seen, {})
    before = copy.deepcopy(state)
    first, second = read(field.step(seen, state)[0]), read(field.step(seen, state)[0])
    identical("the value of the second step, taken twice", first, second)
    identical("the state after a step was taken from it", _tensors(state), _tensors(before))


def leaves_the_problem_alone(field: Field[Any], bound: Bound, read: Read) -> None:
    """``at`` changes neither parameters nor their ``.grad``, buffers, the model's mode or the random state; nor
    does the value at the observation of a training step, which holds the parameters themselves."""
    parameters, buffers = list(bound.model.parameters()), list(bound.model.buffers())
    kept = [p.grad for p in parameters], [b.clone() for b in buffers]
    for i, p in enumerate(parameters):
        p.grad = torch.full_like(p, 3.0) if i % 2 else None
    try:
        for point in (bound, observe(bound, field.needs, name_of(field), train=True)):
            before = _trace(bound)
            read(field.at(point))
            identical("parameters, .grad, buffers, modes and random state", _trace(bound), before)
    finally:
        for p, grad in zip(parameters, kept[0], strict=True):
            p.grad = grad
        for b, value in zip(buffers, kept[1], strict=True):
            b.copy_(value)


@contextmanager
def _elsewhere(bound: Bound) -> Iterator[None]:
    parameters = bound.parameters
    kept = [p.detach().clone() for p in parameters]
    try:
        with torch.no_grad():
            for p in parameters:
                p.mul_(1.25).add_(0.125)
        yield
    finally:
        with torch.no_grad():
            for p, value in zip(parameters, kept, strict=True):
                p.copy_(value)


def _trace(bound: Bound) -> list[Tensor]:
    """Copies of all that ``at`` must not change; an empty tensor for a .grad that is None."""
    seen = [t.detach().clone() for t in (*bound.model.parameters(), *bound.model.buffers())]
    seen += [torch.empty(0) if p.grad is None else p.grad.clone() for p in bound.model.parameters()]
    return [*seen, torch.tensor([m.training for m in bound.model.modules()]), torch.get_rng_state()]


def its_covector_fits_the_space(field: Field[Any], bound: Bound, read: Read) -> None:
    """An objective's c has the shapes, types and device of the parameters, and no graph."""
    c = read(field.at(bound))
    want = [(p.shape, p.dtype, p.device) for p in bound.parameters]
    holds(f"c has {len(c)} tensors for {len(want)} parameters", len(c) == len(want))
    got = [(t.shape, t.dtype, t.device) for t in c]
    holds(f"c is {got}, and the parameters are {want}", got == want)
    holds("c carries a graph", not any(t.requires_grad for t in c))


def _tensors(state: Any) -> list[Tensor]:
    return [torch.as_tensor(leaf) for leaf in tree_leaves(state) if leaf is not None]
