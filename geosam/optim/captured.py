"""A whole step as one graph, replayed on new batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from operator import is_
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from ..problem import Problem
from ..problem.randomness import Replay, foreign
from .fixed import CAPTURABLE, Fixed, check_capturable, stale
from .groups import Groups
from .last import Last
from .recorder import CudaGraph, Recorder, refusal
from .rule import Rule, Source
from .snapshot import Snapshot, read, write
from .step import Step


class Optimizer(Rule, Protocol):
    """What is asked of the optimizer besides what a step reads."""

    def step(self, closure: Source) -> Tensor | None:
        """An ordinary step."""

    def _groups(self) -> Groups: ...


class Captured:
    """``step(x, y)``: observation, ε*, second pass, guard and base step as one graph; the loss at θ.

    A batch is copied into the recorded one and must have its shapes. Learning rates and radii are read from the groups at every
    call, as schedules write them. All else is fixed: RuntimeError where parameters, modes, the groups' other settings or the
    optimizer's parts are no longer those recorded. State may be loaded, and ``opt.step`` called, between calls. A call that
    finds no state yet is an ordinary step, which makes it; so is one with radius 0, or one that does not take both passes. The
    numbers of ``opt.last`` and the tensors in ``.grad`` are overwritten by the next call.
    """

    def __init__(self, optimizer: Optimizer, problem: Problem, x: Any, y: Any, recorder: Recorder | None = None) -> None:
        groups = optimizer._groups()
        device = groups.parameters[0].device
        recorder = recorder or CudaGraph(device)
        check_capturable(optimizer, groups)
        self._optimizer, self._problem = optimizer, problem
        self._x, self._y = tree_map(lambda t: t.to(device, copy=True) if isinstance(t, Tensor) else t, (x, y))
        bound = problem.on(self._x, self._y)
        # a check reads numbers: rows are verified in the rehearsal, and not by the graph
        self._bound = replace(bound, check="first") if bound.check == "sampled" else bound
        self._rates = [torch.zeros((), device=device) for _ in optimizer.base.param_groups]
        self._stretch = torch.ones((), dtype=torch.float64, device=device)
        self._radii = [1.0] * len(groups.radii) if groups.at_rest else groups.radii
        self._fixed = Fixed(optimizer, problem.model, groups)
        self._replay = self._recorded(recorder, groups, device)

    def __call__(self, x: Any, y: Any) -> Tensor:
        """One step on a batch like the recorded one; the loss at θ, detached."""
        optimizer, groups = self._optimizer, self._optimizer._groups()
        self._fixed.check(groups)
        _fill((self._x, self._y), (x, y))
        if groups.at_rest or optimizer.passes.kind(optimizer.steps) != "both" or not self._adopted():
            loss = optimizer.step(self._bound)
            assert loss is not None  # a problem skips no batch
            return loss
        self._follow_schedules(groups)
        self._replay()
        optimizer.steps += 1
        loss, optimizer.last, gradients = self._found
        for p, g in zip(groups.parameters, gradients, strict=True):
            p.grad = g
        for stepped in (optimizer, optimizer.base):
            stepped._opt_called = True  # type: ignore[union-attr]  # which torch's schedules ask for
        return loss.clone()

    def _recorded(self, recorder: Recorder, groups: Groups, device: torch.device) -> Callable[[], None]:
        """The replay; model, optimizer and random state are then as before."""
        before = Snapshot(self._optimizer, self._problem.model)
        try:
            with self._installed(groups):
                recorder.rehearse(self._take)
                first, structure = read(self._optimizer)
                streams = _beside(self._problem.model, device)
                self._take()
                if streams.over:
                    raise refusal(
                        "it draws random numbers on the host or from a generator of its own, which a replay would repeat. Draw "
                        "from torch's generator on the device"
                    )
                second, self._structure = read(self._optimizer)
                if self._structure != structure or not all(map(_alike, first, second)):
                    raise refusal("what it remembers changes its shape, or holds a number that the host counts")
                if any(isinstance(leaf, Tensor) and leaf.device != device for leaf in second):
                    raise refusal(f"it keeps state on another device than the parameters'; {CAPTURABLE}")
                self._state = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in second]
                return recorder.record(self._take_and_keep)
        finally:
            before.restore()

    @contextmanager
    def _installed(self, groups: Groups) -> Iterator[None]:
        """Inside, the groups have the learning rates that the graph reads, and the radii that are its units."""
        known = [dict(group) for group in self._optimizer.base.param_groups]
        try:
            for group, rate, radius in zip(self._optimizer.base.param_groups, self._rates, self._radii, strict=True):
                if "lr" in group:
                    group["lr"] = rate.fill_(group["lr"])
                group[groups.key] = radius
            yield
        finally:
            for group, before in zip(self._optimizer.base.param_groups, known, strict=True):
                group.update(before)

    @torch.no_grad()
    def _take(self) -> None:
        groups = self._optimizer._groups()
        groups.stretch = self._stretch if self._scales else None
        step = Step(self._optimizer, self._bound, groups)
        step.kind = "both"
        loss = step.run()
        assert self._optimizer.last is not None
        self._found: tuple[Tensor, Last, list[Tensor | None]] = loss, self._optimizer.last, [p.grad for p in groups.parameters]

    def _take_and_keep(self) -> None:
        """A step from the kept state to the kept state."""
        write(self._optimizer, self._state, self._structure)
        self._take()
        for kept, leaf in zip(self._state, read(self._optimizer)[0], strict=True):
            if isinstance(leaf, Tensor) and leaf is not kept:
                kept.copy_(leaf)

    def _adopted(self) -> bool:
        """Whether the state is the graph's own, after that of a checkpoint or an ordinary step was copied into it."""
        leaves, structure = read(self._optimizer)
        if structure != self._structure or not all(map(_alike, leaves, self._state)):
            return False
        if not all(map(is_, leaves, self._state)):
            for kept, leaf in zip(self._state, leaves, strict=True):
                if isinstance(kept, Tensor):
                    kept.copy_(leaf)
            write(self._optimizer, self._state, self._structure)
        return True

    @property
    def _scales(self) -> bool:
        """Whether ε* is proportional to the radius."""
        return self._optimizer.solver is None or self._optimizer.solver.homogeneous

    def _follow_schedules(self, groups: Groups) -> None:
        for group, rate in zip(self._optimizer.base.param_groups, self._rates, strict=True):
            if "lr" in group:
                rate.fill_(group["lr"])
        shares = [now / then for now, then in zip(groups.radii, self._radii, strict=True) if then]
        pinned = all(now == 0 for now, then in zip(groups.radii, self._radii, strict=True) if not then)
        if not pinned or max(shares) > min(shares) * (1 + 1e-9):
            raise stale("the groups' radii relative to each other")
        if max(shares) != 1 and not self._scales:
            raise stale("the radius, which this solver's ε* is not proportional to,")
        self._stretch.fill_(max(shares))


def _beside(model: nn.Module, device: torch.device) -> Replay:
    """The streams of random numbers that a graph does not move on: all but torch's own on the device."""
    found = Replay.now([torch.empty(0)], foreign(model))
    own = device.type == "cpu"
    return Replay(found.streams[own:], found.states[own:])


def _alike(a: Any, b: Any) -> bool:
    """Whether two leaves of a state are tensors of one shape and type, or the same."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype
    return a is b or (not isinstance(a, Tensor) and not isinstance(b, Tensor) and bool(a == b))


def _fill(kept: Any, given: Any) -> None:
    """Copy a batch into the recorded one. Raises: ValueError where it has another form."""
    (own, structure), (new, other) = tree_flatten(kept), tree_flatten(given)
    if structure != other or not all(map(_alike, own, new)):
        forms = [[tuple(t.shape) if isinstance(t, Tensor) else t for t in leaves] for leaves in (own, new)]
        raise ValueError(
            f"the step was captured for a batch of shapes {forms[0]}, and this one has {forms[1]}. Leave out the last, smaller "
            "batch (drop_last=True), take it by opt.step(problem.on(x, y)), or capture a step for it."
        )
    for t, value in zip(own, new, strict=True):
        if isinstance(t, Tensor):
            t.copy_(value, non_blocking=True)
