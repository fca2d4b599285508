"""v ↦ Jv from a recording: forward mode is traced once per problem structure and run again at other points."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from ..core import Vectors
from ..core.late import late
from ..core.undo import Attempt
from ..problem.randomness import Replay
from .modes import Program, disagree, tangent
from .tangents import simplify

Push = Callable[[Vectors], Tensor]

_ROUNDING = 1e3  # in units of eps: for other kernels, or another order of summation
_TRIES = 3

# what the tracer raises
_UNTRACED = (RuntimeError, TypeError, ValueError, AttributeError, LookupError, AssertionError)


class Recording(NamedTuple):
    """primal: (θ, rest) → (outputs, kept tensors). linear: (kept tensors, v) → Jv."""

    primal: fx.GraphModule
    linear: fx.GraphModule

    def at(self, theta: Vectors, rest: Vectors) -> tuple[Tensor, Push]:
        """(outputs, v ↦ Jv) at a point. Raises: RuntimeError where the graph does not fit the tensors."""
        with torch.no_grad(), _as_recorded(theta):
            outputs, *kept = self.primal(*theta, *rest)

        def push(v: Vectors) -> Tensor:
            with torch.no_grad(), _as_recorded(theta):
                return self.linear(
                    *kept, *[t if t.stride() == p.stride() else _laid(t, p) for t, p in zip(v, theta, strict=True)]
                )

        return outputs, push


def _as_recorded(theta: Vectors) -> torch.autocast:
    """Autocast off: its conversions are part of the graph."""
    return torch.autocast(theta[0].device.type, enabled=False)


def _laid(t: Tensor, like: Tensor) -> Tensor:
    return torch.empty_like(like).copy_(t)


def record(program: Program, theta: Vectors, rest: Vectors, backwards: bool = False) -> Recording:
    """One trace of ``tangent``, in two parts: what is independent of v, and the rest. It stores no value of its inputs.

    Raises: NotImplementedError for what cannot be run again, and what the tracer raises (where the host reads a number).
    """
    n, m = len(theta), len(theta) + len(rest)

    def flat(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return tangent(program, tensors[:n], tensors[n:m], tensors[m:], backwards)

    inputs = [*theta, *rest, *[torch.zeros_like(p) for p in theta]]
    # a compiled model is traced in eager mode
    with torch.no_grad(), _of_compiled():
        traced = late(lambda: make_fx(flat)(*inputs))
        if _writes(traced.graph):  # a write to a kept tensor (an LSTM's gates) would falsify the next product
            with _as_recorded(theta):
                again = make_fx(torch.func.functionalize(traced, remove="mutations"))
                traced = late(lambda: again(*inputs))
    if found := _writes(traced.graph):
        raise NotImplementedError(f"{found[0]} writes to its inputs")
    moving = _moving(traced.graph, m)
    simplify(traced.graph, moving)
    return _split(traced, moving)


def _of_compiled() -> AbstractContextManager[Any]:
    """A context in which a compiled model may be traced, in eager mode; without dynamo there is none."""
    loaded = "torch._dynamo" in sys.modules
    return torch._dynamo.config.patch(error_on_nested_fx_trace=False) if loaded else nullcontext()


def _writes(graph: fx.Graph) -> list[Any]:
    graph.eliminate_dead_code()
    targets = [node.target for node in graph.nodes if isinstance(node.target, torch._ops.OpOverload)]
    return [target for target in targets if target._schema.is_mutable]


def _moving(graph: fx.Graph, m: int) -> set[fx.Node]:
    """The nodes that depend on the inputs after the first m."""
    moving = set([node for node in graph.nodes if node.op == "placeholder"][m:])
    for node in graph.nodes:
        if not moving.isdisjoint(node.all_input_nodes) and node.op != "output":
            moving.add(node)
            if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
                raise NotImplementedError(f"{node.target} would draw anew for every product")
    return moving


def _split(traced: fx.GraphModule, moving: set[fx.Node]) -> Recording:
    outputs, along = next(iter(reversed(traced.graph.nodes))).args[0]
    nodes = [node for node in traced.graph.nodes if node.op != "output"]
    primal, linear = fx.Graph(), fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in nodes:
        if node not in moving:
            copies[node] = primal.node_copy(node, copies.__getitem__)
    read = [source for node in nodes if node in moving for source in node.all_input_nodes if source not in moving]
    kept = list(dict.fromkeys(read if along in moving else [*read, along]))
    primal.output([copies[outputs], *[copies[node] for node in kept]])
    primal.eliminate_dead_code()
    own = {node: linear.placeholder(f"kept_{i}") for i, node in enumerate(kept)}
    for node in nodes:
        if node in moving:
            own[node] = linear.node_copy(node, own.__getitem__)
    linear.output(own[along])
    linear.eliminate_dead_code()
    return Recording(fx.GraphModule(traced, primal), fx.GraphModule(traced, linear))


class _Slot:
    """The recording of one structure, how many more may be made until one fits a second point, and which mode gives Jv."""

    recording: Recording | None = None
    tries: int = _TRIES
    backwards: bool | None = None


@dataclass(frozen=True, eq=False)
class Recorder:
    """Finds or makes the recording that fits a point.

    program: the forward pass. rest: all known tensors that it reads besides the parameters. replay: its random numbers.
    memory: the problem's store of recordings; key: what they depend on, besides shapes, strides and types.
    What is not a known tensor (Python control flow, counters, a tensor that is an attribute) is a constant of the graph. So a
    recording is used only if it gives the forward pass's own outputs at θ, to rounding; if not, it is made again. After three
    failures no more are made: such a model changes with every pass.
    """

    program: Program
    rest: Vectors
    replay: Replay
    memory: dict[Any, Any]
    key: tuple[Any, ...]

    def at(self, theta: Vectors, outputs: Tensor) -> Push | None:
        """v ↦ Jv at θ, where the outputs are ``outputs``; None where no recording fits."""
        slot = self._slot(theta)
        push = self._run(slot, theta, outputs)
        if push is not None:
            slot.tries = _TRIES
            return push
        if slot.tries == 0:
            return None
        attempt = Attempt()
        try:
            with self.replay:
                slot.recording = record(self.program, theta, self.rest, self.backwards(theta))
            slot.tries -= 1
        except _UNTRACED as error:  # what the tracer cannot follow is differentiated again for every product
            attempt.refused(error)
            slot.recording, slot.tries = None, 0
        return self._run(slot, theta, outputs)

    def backwards(self, theta: Vectors) -> bool:
        """As :func:`disagree`, found once for a structure."""
        slot = self._slot(theta)
        if slot.backwards is None:
            slot.backwards = disagree(self.program, theta, self.rest, self.replay)
        return slot.backwards

    def _slot(self, theta: Vectors) -> _Slot:
        kinds = tuple((t.dtype, t.device, t.shape, t.stride()) for t in (*theta, *self.rest))
        device = theta[0].device.type
        cast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        slot: _Slot = self.memory.setdefault(("linear", self.key, kinds, cast), _Slot())
        return slot

    def _run(self, slot: _Slot, theta: Vectors, outputs: Tensor) -> Push | None:
        if slot.recording is None:
            return None
        attempt = Attempt()
        try:
            with self.replay:
                found, push = slot.recording.at(theta, self.rest)
        except RuntimeError as error:
            attempt.refused(error)
            return None
        if found.shape != outputs.shape or found.dtype != outputs.dtype:
            return None
        size, gap = (torch.linalg.vector_norm(t.double()) for t in (outputs, found.double() - outputs.double()))
        return None if gap > _ROUNDING * torch.finfo(outputs.dtype).eps * size else push

    def forget(self, theta: Vectors) -> None:
        """Discard the recording at θ: it was found wrong."""
        self._slot(theta).recording = None

    def restrict(self, index: Sequence[int], full: Vectors) -> Recorder:
        """The same program of some of its parameters; the others become tensors that it reads."""
        others = [i for i in range(len(full)) if i not in index]

        def program(parameters: Vectors, rest: Vectors) -> Tensor:
            held = dict(zip([*index, *others], [*parameters, *rest[: len(others)]], strict=True))
            return self.program([held[i] for i in range(len(full))], rest[len(others) :])

        rest = [*(full[i].detach() for i in others), *self.rest]
        return replace(self, program=program, rest=rest, key=(*self.key, tuple(index)))
