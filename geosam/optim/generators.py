"""Generators that metrics and objectives draw from, so that a resumed run draws what an uninterrupted one would."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch


def generators(part: Any) -> list[torch.Generator]:
    """All that the configuration holds, each once, in the order of fields."""
    return list({id(g): g for g in _held(part)}.values())


def _held(part: Any) -> Iterator[torch.Generator]:
    if isinstance(part, torch.Generator):
        yield part
    elif dataclasses.is_dataclass(part) and not isinstance(part, type):
        for field in dataclasses.fields(part):
            yield from _held(getattr(part, field.name))
    elif isinstance(part, Mapping):
        yield from _held(list(part.values()))
    elif isinstance(part, list | tuple):
        for each in part:
            yield from _held(each)
