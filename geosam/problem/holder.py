"""A container or an object that a module holds: what has changed in it, and how that is undone."""

from __future__ import annotations

from collections.abc import Collection
from operator import is_
from typing import Any, NamedTuple

from torch import nn

from .data import is_data, named, put, same


class Tally(NamedTuple):
    """A counter that one pass has raised, by its place and name, or a list that it has lengthened: they tell of all passes."""

    place: Any
    name: Any
    before: Any
    after: Any

    def total(self) -> Any:
        """What it is after one more pass that began as the first did."""
        if self.name is None:
            return [*self.after, *list(self.place)[len(self.before) :]]
        return self.after + named(self.place)[self.name] - self.before

    def set(self, value: Any) -> None:
        """Give it this value."""
        if self.name is None:
            self.place.clear()
            self.place.extend(value)
        else:
            put(self.place, self.name, {self.name: value})


class Holder(NamedTuple):
    """A container, or an object by its attributes, and what it held: the objects themselves.

    owner: the module that leads to it. names: all that it had, of which ``items`` are those that are followed.
    """

    owner: nn.Module
    place: Any
    items: Any
    names: Collection[str] = ()

    def differences(self) -> list[Any]:
        """Names by which something else is held now, or something new, or nothing; not those of functions and the like."""
        now = named(self.place)
        found = [k for k, v in self.items.items() if k not in now or not same(now[k], v)]
        return [k for k in (*found, *(k for k in now if k not in self.names)) if is_data(now.get(k))]

    @property
    def replaced(self) -> bool:
        """Whether it holds other objects."""
        if isinstance(self.items, dict):
            return bool(self.differences())
        if isinstance(self.place, set):
            return bool(self.place != self.items)
        return len(self.place) != len(self.items) or not all(map(same, self.place, self.items))

    def tallies(self) -> list[Tally] | None:
        """The counters that rose and the list that grew, if nothing else has changed here; else None."""
        if isinstance(self.items, dict):
            pairs = [(name, self.items.get(name), named(self.place).get(name)) for name in self.differences()]
            rose = all(type(a) is type(b) is int and b > a for _, a, b in pairs)
            return [Tally(self.place, *pair) for pair in pairs] if rose else None
        open_ended = not isinstance(self.place, set) and getattr(self.place, "maxlen", None) is None
        grew = open_ended and len(self.place) >= len(self.items) and all(map(is_, self.place, self.items))
        return [Tally(self.place, None, self.items, list(self.place))] if grew else None

    def restore(self) -> None:
        """The same objects again; may be repeated."""
        if isinstance(self.items, dict):
            for name in self.differences():
                put(self.place, name, self.items)
        elif self.replaced:
            self.place.clear()
            (self.place.update if isinstance(self.place, set) else self.place.extend)(self.items)
