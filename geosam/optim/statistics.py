"""What an optimizer knows of the modules that its steps run: where they hold what, which write, what comes back at the end."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Generic, TypeVar
from weakref import ref

from torch import Tensor, nn

from ..problem.holder import Tally
from ..problem.kept import Kept
from ..problem.modules import modules
from ..problem.places import Known, same_objects
from .holders import holders, is_frozen, named
from .others import Others

T = TypeVar("T")
BATCHNORM = ("first", "both", "second")


def check_batchnorm(which: Any) -> str:
    """Which passes count. Raises: ValueError unless it is one of ``BATCHNORM``."""
    if which not in BATCHNORM:
        raise ValueError(f"batchnorm names the passes that update running statistics: {', '.join(BATCHNORM)}; got {which!r}")
    return str(which)


class ByModule(Generic[T]):
    """module → a fact, by identity, as long as it lives. Torch's dictionary of this kind takes microseconds a look-up."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[ref[nn.Module], T]] = {}

    def get(self, module: nn.Module, default: T) -> T:
        """The fact, or ``default``."""
        found = self._found.get(id(module))
        return default if found is None or found[0]() is not module else found[1]

    def __setitem__(self, module: nn.Module, fact: T) -> None:
        key, found = id(module), self._found
        found[key] = ref(module, lambda gone: found.pop(key) if found.get(key, (None,))[0] is gone else None), fact


class Statistics:
    """What an optimizer knows of buffers: by which of a step's passes they are written, and what ``restore`` brings back.

    which: "first", the pass at θ (Foret et al.'s code); "both" (ASAM's code); "second", the pass at θ + ε*.
    """

    def __init__(self, which: str) -> None:
        self.which = which
        self.written: ByModule[dict[bool, bool]] = ByModule()
        """module → its mode → whether a pass has written to what it holds."""
        self.holds: ByModule[bool] = ByModule()
        """module → whether it holds a tensor besides its parameters; most hold none, and are not searched again."""
        self.others = Others()
        self._teachers: list[ref[nn.Module]] | None = None
        self._away: list[tuple[Kept | None, bool, list[Tally]]] = []
        self._known = Known()
        self._holders: tuple[list[Tensor], list[ref[nn.Module]]] = ([], [])

    def teachers(self, source: Any) -> list[nn.Module]:
        """Modules with frozen parameters that a closure may write before it calls them: at first those that it reads by name,
        then those that passes were seen to write in the mode that they are in.
        """
        if self._teachers is None:
            self._teachers = []
            found = dict.fromkeys(m for root in named(source) for m in modules(root))
            return [m for m in found if is_frozen(m)]
        known = (m for m in (found() for found in self._teachers) if m is not None)
        return [m for m in known if self.written.get(m, {}).get(m.training)]

    def follows(self, module: nn.Module) -> None:
        """Know a module for one of the teachers."""
        if not any(found() is module for found in self._teachers or ()):
            self._teachers = [*(self._teachers or []), ref(module)]

    def holders(self, parameters: list[Tensor]) -> list[nn.Module]:
        """Those of :func:`holders`, looked for once as long as the parameters are the same."""
        if not same_objects(self._holders[0], parameters):
            self._holders = (parameters, [ref(m) for m in holders(parameters)])
        return [m for m in (found() for found in self._holders[1]) if m is not None]

    def __reduce__(self) -> tuple[Any, ...]:
        return Statistics, (self.which,)

    def keep(self, parts: list[nn.Module], parameters: list[Tensor], known: Collection[int], copied: bool = True) -> Kept:
        """What these modules hold now. known: ids of modules that are kept apart. copied: so that it can be restored."""
        return Kept(self._known.places(parts, parameters, known, frozen=copied), copied)

    def hold(self, kept: Kept | None, sought: bool, tallies: list[Tally]) -> None:
        """What the coming pass writes is undone by ``restore``. sought: whether that is looked for, or all is set back.

        tallies: counters and logs, which tell of all passes.
        """
        self._away.append((kept, sought, tallies))

    def restore(self) -> None:
        """The buffers as they were before the second pass, where it does not count; nothing at another time."""
        while self._away:
            kept, sought, tallies = self._away[-1]
            totals = [tally.total() for tally in tallies]
            if kept is not None:
                kept.restore(kept.changed() if sought else None)
            self._away.pop()
            for tally, total in zip(tallies, totals, strict=True):
                tally.set(total)
