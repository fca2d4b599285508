"""Objects that print as short as they were written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from torch import Tensor, nn


class Brief:
    """A base of dataclasses that print what differs from the defaults: ``Fisher()``, ``Fisher(damping=Relative(0.01))``."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls.__repr__ = cls.__repr__  # type: ignore[method-assign]  # its own now, or @dataclass adds one that prints every field

    def __repr__(self) -> str:
        parts: list[str] = []
        own: tuple[Field[Any], ...] = fields(self) if is_dataclass(self) else ()
        for f in own:
            value, known = getattr(self, f.name), _default(f)
            if not (f.repr and f.init):
                continue
            if known is MISSING and not any("=" in part for part in parts):
                parts.append(brief(value))
            elif not _same(value, known):
                parts.append(f"{f.name}={brief(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """As IPython's and Hypothesis's printers ask for it; they would print every field of a dataclass."""
        printer.text(repr(self))


def brief(value: Any) -> str:
    """``repr`` in a few words: a tensor by its shape, a module by its class, a function by its name."""
    if isinstance(value, Tensor):
        return f"tensor{list(value.shape)}"
    if isinstance(value, nn.Module):
        return type(value).__name__
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{brief(k)}: {brief(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        told = f"{len(value)} tensors" if len(value) > 3 and isinstance(value[0], Tensor) else ", ".join(map(brief, value))
        return f"[{told}]" if isinstance(value, list) else f"({told}{',' * (len(value) == 1)})"
    if callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__).rpartition("<locals>.")[2]
    kind: Any = type(value)
    told = kind.__name__ if kind.__repr__ is object.__repr__ else repr(value)
    return told if "\n" not in told else kind.__name__


def _default(f: Field[Any]) -> Any:
    return f.default_factory() if f.default_factory is not MISSING else f.default


def _same(value: Any, known: Any) -> bool:
    if value is known:
        return True
    return type(value) is type(known) and not isinstance(value, Tensor) and bool(value == known)
