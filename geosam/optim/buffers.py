"""What passes write to, BatchNorm's running statistics among it: which pass counts, and what a broken one leaves.

Buffers, frozen parameters, and data in plain attributes, by itself, in containers or in objects: a recurrent state, the last
outputs, a counter, a teacher that follows the parameters. Both passes begin with what was there before the step, so that
L(θ + ε) differs from L(θ) by ε alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from ..problem.kept import Kept
from ..problem.modules import modules
from .holders import compiles, is_frozen, named
from .statistics import Statistics


class Buffers:
    """What the modules that a step runs hold, as it was before.

    A problem's modules are given; a closure's are those that are called in its passes, and, where compiled code calls none,
    those that hold the parameters or that the closure reads by name. Which are written to is seen: by values the first time
    in each mode, and then by versions, which a module's counters change where torch's kernels leave those of the statistics as
    they were.
    """

    def __init__(self, statistics: Statistics, roots: Iterable[nn.Module], parameters: list[Tensor]) -> None:
        self.statistics, self.roots, self.parameters = statistics, list(roots), parameters
        self._modes: dict[int, tuple[nn.Module, bool]] = {}  # by id: a module may hash by its state
        self._new: set[int] = set()  # in a mode in which nothing is known of them
        self._written: set[int] = set()
        self._quiet: list[Kept] = []
        self._before: list[Kept] = []
        self._sums: list[tuple[nn.Module, list[Tensor]]] = []
        self._hook: Any = None

    def begin(self) -> None:
        """Note those of the given modules as they are."""
        for root in self.roots:
            self._see(modules(root))

    def _see(self, parts: Iterable[nn.Module]) -> None:
        new = {id(m): (m, m.training) for m in parts if id(m) not in self._modes}
        self._modes.update(new)
        facts, holds = self.statistics.written, self.statistics.holds
        known = {key: facts.get(m, {}).get(mode) for key, (m, mode) in new.items()}
        apart = [new[key][0] for key, written in known.items() if written is not False]
        quiet = [new[key][0] for key, written in known.items() if written is False and holds.get(new[key][0], True)]
        self._written |= {key for key, written in known.items() if written}
        if quiet:
            self._quiet.append(self.statistics.keep(quiet, self.parameters, self._modes, copied=False))
        if apart:
            self._before.append(self._kept(apart))
        unknown = [key for key, written in known.items() if written is None]
        if unknown:
            self.statistics.others.meet((new[key][0] for key in unknown), self.parameters)
        for key in unknown:
            m = new[key][0]
            self._new.add(key)
            self._sums.append((m, _sums(m)))
            holds[m] = key in self._before[-1].places.holding

    def _kept(self, parts: list[nn.Module]) -> Kept:
        return self.statistics.keep(parts, self.parameters, self._modes)

    @contextmanager
    def calls(self, source: Any) -> Iterator[None]:
        """Inside, modules that a closure calls are noted, before they run."""
        thread = threading.get_ident()

        def see(module: nn.Module, _: Any) -> None:
            if id(module) not in self._modes and threading.get_ident() == thread:
                self._see(modules(module))

        if compiles():  # what is compiled would take the hook in
            for module in (*self.statistics.holders(self.parameters), *named(source)):
                self._see(modules(module))
            yield
            return
        if not self._modes and (teachers := self.statistics.teachers(source)):
            self._see(teachers)
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
        """After the first pass, before θ moves: what it wrote comes back at the end or not, and the second begins as it did."""
        if self.statistics.which == "both":
            return
        written, kept, new = self._learn(), None, []
        tallies = [tally for each in self._before for found in each.tallies().values() for tally in found]
        if self.statistics.which == "first":  # what the first pass of all wrote to a teacher may equal what was there
            teachers = set[int]().union(*(each.places.teachers for each in self._before))
            new = [m for key, (m, _) in self._modes.items() if key in (self._new & teachers) - self._written]
            kept = self._kept([*written, *new])
        if kept is not None or tallies:
            self.statistics.hold(kept, bool(new), tallies)
        # a module that set its own parameters up by this batch would do so again, at θ + ε
        known = [(m, sums) for m, sums in self._sums if id(m) in self._written]
        begun = {id(m) for m, sums in known if any(not a.equal(b) for a, b in zip(sums, _sums(m), strict=True))}
        for before in self._before:
            before.restore(self._written - begun, quietly=True)

    def unwritten(self, run: Callable[[], Any]) -> Any:
        """What ``run``, a further pass, returns; its writes are undone where they do not count."""
        if self.statistics.which == "both":
            return run()
        kept = self._kept(self._learn())
        try:
            return run()
        finally:
            tallies = [tally for found in kept.tallies().values() for tally in found]
            kept.restore()
            for tally in tallies:
                tally.set(tally.after)

    def finish(self) -> None:
        """Note what was written."""
        self._learn()

    def restore(self) -> None:
        """As before the step; may be repeated."""
        self._leave()
        for kept in self._before:
            kept.restore()

    def _learn(self) -> list[nn.Module]:
        """The modules that were written to."""
        quiet = set[int]().union(*(kept.changed() for kept in self._quiet))
        self._written = quiet.union(*(kept.changed(self._written) for kept in self._before))
        facts = self.statistics.written
        for key in self._new | quiet:
            m, mode = self._modes[key]
            facts[m] = {**facts.get(m, {}), mode: key in self._written}
            if key in self._written and is_frozen(m):
                self.statistics.follows(m)
        return [self._modes[key][0] for key in self._written]


def _sums(module: nn.Module) -> list[Tensor]:
    """Of its own parameters with a gradient, which a write to them changes."""
    own = (p for p in module._parameters.values() if p is not None and p.requires_grad and not p.is_complex())
    return [p.detach().sum(dtype=torch.float64) for p in own]
