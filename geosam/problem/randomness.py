"""The same random numbers for several forward passes."""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core import Vectors
from .reading import Eager


class Stream(NamedTuple):
    """A source of random numbers, by its state."""

    source: Any
    get: Callable[[], Any]
    set: Callable[[Any], Any]


def _of_torch(device: torch.device) -> Stream:
    if device.type == "cpu":
        return Stream(torch, torch.get_rng_state, torch.set_rng_state)
    module = torch.get_device_module(device)
    return Stream(module, lambda: module.get_rng_state(device), lambda state: module.set_rng_state(state, device))


def foreign(*owners: Any) -> list[Stream]:
    """The global streams of Python and, if it is loaded, of numpy, and those that modules among ``owners`` hold as attributes.

    To read the state of Python's takes 20 microseconds, of numpy's 80.
    """
    numpy = sys.modules.get("numpy.random")
    found = [Stream(random, random.getstate, random.setstate)]
    if numpy is not None:
        found.append(Stream(numpy, numpy.get_state, numpy.set_state))
    parts = [m for owner in owners if isinstance(owner, nn.Module) for m in owner.modules()]
    values = {id(v): own(v) for m in parts for v in vars(m).values()}
    return [*found, *(stream for stream in values.values() if stream is not None)]


def own(value: Any) -> Stream | None:
    """The stream of a torch.Generator, a random.Random, a Generator or RandomState of numpy; None for anything else."""
    if isinstance(value, torch.Generator):
        return Stream(value, value.get_state, value.set_state)
    if isinstance(value, random.Random):
        return Stream(value, value.getstate, value.setstate)
    numpy = sys.modules.get("numpy.random")
    if numpy is not None and isinstance(value, numpy.RandomState):
        return Stream(value, value.get_state, value.set_state)
    if numpy is not None and isinstance(value, numpy.Generator):
        bits = value.bit_generator
        return Stream(value, lambda: bits.state, lambda state: setattr(bits, "state", state))
    return None


class Handed(Eager):
    """A context that notes every torch.Generator given to an operation, and sets it back at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.streams: list[Stream] = []
        self._before: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in (*args, *(kwargs or {}).values()):
            if isinstance(value, torch.Generator) and all(value is not stream.source for stream in self.streams):
                self._before.append(value.get_state())
                self.streams.append(Stream(value, value.get_state, value.set_state))
        return func(*args, **(kwargs or {}))

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        for stream, state in zip(self.streams, self._before, strict=True):
            stream.set(state)


def _same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else pickle.dumps(a) == pickle.dumps(b)


@dataclass
class Replay:
    """A context that repeats the random numbers that follow the states at ``now``; outside, the streams are unchanged."""

    streams: Sequence[Stream]
    states: list[Any]
    outer: list[list[Any]] = field(default_factory=list)
    drawn: list[Stream] = field(default_factory=list)
    """The streams of which a pass inside the context has used a number."""
    recorded: bool = False
    """Whether a CUDA graph is being recorded, whose generators have no state to come back to."""

    @classmethod
    def now(cls, parameters: Vectors, others: Sequence[Stream] = ()) -> Replay:
        """From the current state of torch's generators, on the CPU and on the parameters' device, and of ``others``."""
        if parameters[0].is_cuda and torch.cuda.is_current_stream_capturing():
            return cls([], [], recorded=True)
        devices = dict.fromkeys((torch.device("cpu"), parameters[0].device))
        streams = [*map(_of_torch, devices), *others]
        return cls(streams, [stream.get() for stream in streams])

    @property
    def used(self) -> bool:
        """Whether a pass inside the context has used a random number."""
        return bool(self.drawn)

    @property
    def over(self) -> bool:
        """Whether random numbers were used since ``now``."""
        return not all(_same(stream.get(), state) for stream, state in zip(self.streams, self.states, strict=True))

    def rewind(self) -> None:
        """Set the streams back to their states at ``now``."""
        if self.recorded:
            raise RuntimeError("a pass has to repeat its random numbers, which a CUDA graph cannot")
        _set(self.streams, self.states)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """For draws that do not belong to the pass inside the context: from the streams outside, which move on."""
        if not self.outer:
            yield
            return
        inside = [stream.get() for stream in self.streams]
        _set(self.streams, self.outer[-1])
        try:
            yield
        finally:
            self.outer[-1] = [stream.get() for stream in self.streams]
            _set(self.streams, inside)

    def __enter__(self) -> Replay:
        self.outer.append([stream.get() for stream in self.streams])
        self.rewind()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for stream, state in zip(self.streams, self.states, strict=True):
            if stream not in self.drawn and not _same(stream.get(), state):
                self.drawn.append(stream)
        _set(self.streams, self.outer.pop())


def _set(streams: Sequence[Stream], states: Sequence[Any]) -> None:
    for stream, state in zip(streams, states, strict=True):
        stream.set(state)
