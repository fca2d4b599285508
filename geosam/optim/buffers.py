"""Buffers that passes write to, BatchNorm's running statistics among them: which pass counts, and what a broken one leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from ..core import vectors as vec
from ..problem.modules import modules
from .holders import compiles, holders, named

BATCHNORM = ("first", "both", "second")


def check_batchnorm(which: Any) -> str:
    """Which passes count. Raises: ValueError unless it is one of ``BATCHNORM``."""
    if which not in BATCHNORM:
        raise ValueError(f"batchnorm names the passes that update running statistics: {', '.join(BATCHNORM)}; got {which!r}")
    return str(which)


class Kept:
    """The buffers of some modules, and their values at one time."""

    def __init__(self, parts: Iterable[nn.Module]) -> None:
        self.slots = [(m, name, b) for m in parts for name, b in m._buffers.items() if b is not None]
        self.versions = [_version(b) for *_, b in self.slots]
        self.values = vec.clone([b for *_, b in self.slots])

    @torch.no_grad()
    def restore(self) -> None:
        """Give all of them their values back; may be repeated."""
        for m, name, b in self.slots:
            if _of(m, name) is not b:
                m._buffers[name] = b
        vec.copy_([b for *_, b in self.slots], self.values)


class Statistics:
    """What an optimizer knows of buffers: by which of a step's passes they are written, and what ``restore`` brings back.

    which: "first", the pass at θ (Foret et al.'s code); "both" (ASAM's code); "second", the pass at θ + ε*.
    """

    def __init__(self, which: str) -> None:
        self.which = which
        self.written: WeakKeyDictionary[nn.Module, dict[bool, bool]] = WeakKeyDictionary()
        """module → its mode → whether a pass has written to its buffers."""
        self._away: list[Kept] = []
        self._holders: tuple[list[Tensor], list[ref[nn.Module]]] = ([], [])

    def holders(self, parameters: list[Tensor]) -> list[nn.Module]:
        """Those of :func:`holders`, looked for once as long as the parameters are the same."""
        known = self._holders[0]
        if len(known) != len(parameters) or any(p is not q for p, q in zip(known, parameters, strict=True)):
            self._holders = (parameters, [ref(m) for m in holders(parameters)])
        return [m for m in (found() for found in self._holders[1]) if m is not None]

    def __reduce__(self) -> tuple[Any, ...]:
        return Statistics, (self.which,)

    def hold(self, kept: Kept) -> None:
        """What the coming pass writes is undone by ``restore``."""
        self._away.append(kept)

    def restore(self) -> None:
        """The buffers as they were before the second pass, where it does not count; nothing at another time."""
        while self._away:
            self._away[-1].restore()
            self._away.pop()


class Buffers:
    """The buffers of the modules that a step runs, as they were before.

    A problem's modules are given; a closure's are those that are called in its passes, and, where compiled code calls none,
    those that hold the parameters or that the closure reads by name. Which are written to is seen: by values the first time
    in each mode, and then by versions, which a module's counters change where torch's kernels leave those of the statistics as
    they were.
    """

    def __init__(self, statistics: Statistics, roots: Iterable[nn.Module], parameters: list[Tensor]) -> None:
        self.statistics, self.roots, self.parameters = statistics, list(roots), parameters
        self._modes: dict[nn.Module, bool] = {}
        self._quiet: list[tuple[nn.Module, str, Tensor, int]] = []
        self._before: list[Kept] = []
        self._hook: Any = None

    def begin(self) -> None:
        """Note those of the given modules as they are."""
        for root in self.roots:
            self._see(root)

    def _see(self, root: nn.Module) -> None:
        new = {m: m.training for m in modules(root) if m not in self._modes}
        self._modes.update(new)
        apart: list[nn.Module] = []
        for m, mode in new.items():
            if m._buffers and self.statistics.written.get(m, {}).get(mode, True):
                apart.append(m)
            else:
                self._quiet += [(m, name, b, _version(b)) for name, b in m._buffers.items() if b is not None]
        if apart:
            self._before.append(Kept(apart))

    @contextmanager
    def calls(self, source: Any) -> Iterator[None]:
        """Inside, modules that a closure calls are noted, before they run."""
        thread = threading.get_ident()

        def see(module: nn.Module, _: Any) -> None:
            if module not in self._modes and threading.get_ident() == thread:
                self._see(module)

        if compiles():  # what is compiled would take the hook in
            for module in (*self.statistics.holders(self.parameters), *named(source)):
                self._see(module)
            yield
            return
        self._hook = register_module_forward_pre_hook(see)
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def between(self) -> None:
        """After the first pass: what it wrote stays or goes, and what the second one will write."""
        written = self._learn()
        if self.statistics.which == "first":
            self.statistics.hold(Kept(written))
        elif self.statistics.which == "second":
            for kept in self._before:
                kept.restore()

    def unwritten(self, run: Callable[[], Any]) -> Any:
        """What ``run``, a further pass, returns; its writes are undone where they do not count."""
        if self.statistics.which == "both":
            return run()
        kept = Kept(self._learn())
        try:
            return run()
        finally:
            kept.restore()

    def finish(self) -> None:
        """Note what was written."""
        self._learn()

    def restore(self) -> None:
        """As before the step; may be repeated."""
        self._leave()
        for kept in self._before:
            kept.restore()

    def _learn(self) -> list[nn.Module]:
        """The modules whose buffers were written to."""
        facts = self.statistics.written
        changed = {m: True for m, name, b, version in self._quiet if _changed(m, name, b, version)}
        for kept in self._before:
            for (m, name, b), version, value in zip(kept.slots, kept.versions, kept.values, strict=True):
                known = facts.get(m, {}).get(self._modes[m], False)
                changed[m] = changed.get(m, False) or known or _changed(m, name, b, version) or not b.equal(value)
        for m, written in changed.items():
            facts.setdefault(m, {})[self._modes[m]] = written
        return [m for m, written in changed.items() if written]


def _changed(module: nn.Module, name: str, b: Tensor, version: int) -> bool:
    return _of(module, name) is not b or _version(b) != version


def _of(module: nn.Module, name: str) -> Tensor | None:
    return dict(module._buffers).get(name)  # TorchScript's own kind of dictionary has no get


def _version(b: Tensor) -> int:
    return -1 if b.is_inference() else b._version
