"""Whose memory it is: what fields remember follows its parameter, also when groups change or parameters are frozen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ..core import Vectors
from ..core.sharded import placed_as
from ..observation import State
from ..observation.state import Path, by_parameter, leaves, nested
from .suitable import check_parameters

NAMES = ("objective", "metric", "update", "solver", "passes", "move")

Place = tuple[torch.dtype, torch.device]


class Owners:
    """The parameters that the entries of a memory belong to, in their order; and entries that wait for their parameter.

    A list in a state has one entry a parameter. When other parameters are trained than in the last step, or in another order,
    each entry goes to its parameter's place, None stands for a parameter without a past, and the entries of a parameter that
    is left out wait for it. Anything else in a state belongs to all parameters together, and ends when they are not the same.
    """

    def __init__(self) -> None:
        self.parameters: Vectors = []
        self._places: list[Place] = []
        self._waiting: dict[Tensor, tuple[Place, dict[Path, Any]]] = {}

    def sort(self, memory: dict[str, State], parameters: Vectors, names: Sequence[str] | None = None) -> None:
        """Sort the memory for these parameters, in their type and on their device. Raises as :func:`check_parameters`."""
        known = len(parameters) == len(self.parameters) and all(map(_is, parameters, self.parameters))
        places = [(p.dtype, p.device) for p in parameters]
        if known and places == self._places:
            return
        check_parameters(parameters, names)
        found, count = leaves(memory), len(self.parameters)
        for path, leaf in found.items():
            if by_parameter(leaf, count):
                for p, place, entry in zip(self.parameters, self._places, leaf, strict=True):
                    if entry is not None:
                        self._waiting.setdefault(p, (place, {}))[1][path] = entry
        kept = {path: _carried(leaf, None, parameters[0]) for path, leaf in found.items() if not by_parameter(leaf, count)}
        waited: list[tuple[Place | None, dict[Path, Any]]] = [self._waiting.pop(p, (None, {})) for p in parameters]
        paths = dict.fromkeys(path for _, entries in waited for path in entries)
        own: dict[Path, Any] = {
            path: [_carried(w[1].get(path), w[0], p) for w, p in zip(waited, parameters, strict=True)] for path in paths
        }
        sorted_out = nested((kept if known else {}) | own)
        memory.update({name: sorted_out.get(name, {}) for name in NAMES})
        self.parameters, self._places = list(parameters), places

    def saved(self, memory: Mapping[str, State], everyone: Vectors) -> dict[str, Any]:
        """What a checkpoint holds, with parameters by their position in the groups, frozen ones included."""
        position = {id(p): i for i, p in enumerate(everyone)}
        waiting = [
            (position[id(p)], place[0], path, entry)
            for p, (place, entries) in self._waiting.items()
            if id(p) in position
            for path, entry in entries.items()
        ]
        held = nested({path: _listed(leaf) for path, leaf in leaves(memory).items()})
        return {
            **{name: held.get(name, {}) for name in NAMES},
            "of": _words([position[id(p)], place[0]] for p, place in zip(self.parameters, self._places, strict=True)),
            "waiting": [_listed(entry) for *_, entry in waiting],
            "waiting of": _words([i, dtype, *path] for i, dtype, path, _ in waiting),
        }

    def load(self, saved: Mapping[str, Any], everyone: Vectors, parameters: Vectors) -> dict[str, State]:
        """The memory of a checkpoint, with tensors of its own. One without positions is taken for these parameters."""
        memory: dict[str, State] = {name: dict(saved.get(name, {})) for name in NAMES}
        if "of" in saved:
            of = [(everyone[i], _dtype(kind)) for i, kind in json.loads(saved["of"])]
            self.parameters, self._places = [p for p, _ in of], [(dtype, p.device) for p, dtype in of]
        else:
            fitting = {path: leaf for path, leaf in leaves(memory).items() if _fits(leaf, parameters)}
            memory = {name: nested(fitting).get(name, {}) for name in NAMES}
            self.parameters, self._places = list(parameters), [(p.dtype, p.device) for p in parameters]
        self._waiting = {}
        waiting = zip(json.loads(saved.get("waiting of", "[]")), saved.get("waiting", ()), strict=True)
        for (i, kind, *path), entry in waiting:
            place = (_dtype(kind), everyone[i].device)
            self._waiting.setdefault(everyone[i], (place, {}))[1][tuple(path)] = _copied_for(entry, everyone[i])
        at: dict[Path, Any] = {}
        for path, leaf in leaves(memory).items():
            if by_parameter(leaf, len(self.parameters)):
                at[path] = [_copied_for(entry, p) for entry, p in zip(leaf, self.parameters, strict=True)]
            else:
                at[path] = _copied(leaf, parameters[0])
        found = nested(at)
        return {name: found.get(name, {}) for name in NAMES}


def _is(a: object, b: object) -> bool:
    return a is b


def _carried(entry: Any, place: Place | None, parameter: Tensor) -> Any:
    """Tensors on the parameter's device, and of its type if they had the type that it had before."""

    def carry(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        follows = place is not None and value.dtype == place[0]
        return value.to(parameter.device, parameter.dtype if follows else value.dtype)

    return tree_map(carry, entry)


def _copied(entry: Any, parameter: Tensor) -> Any:
    return tree_map(lambda v: v.to(parameter.device, copy=True) if isinstance(v, Tensor) else v, entry)


def _copied_for(entry: Any, parameter: Tensor) -> Any:
    """An entry of this parameter, divided as it is over processes."""
    copied = _copied(tuple(entry) if isinstance(entry, list) else entry, parameter)
    return tree_map(lambda v: placed_as(v, parameter) if isinstance(v, Tensor) else v, copied)


def _words(rows: Iterable[Sequence[Any]]) -> str:
    """As one string: torch.distributed.checkpoint fills what is there already, and lists may have another length."""
    return json.dumps([[each if isinstance(each, int) else str(each) for each in row] for row in rows])


def _dtype(name: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, name.removeprefix("torch."))
    return found


def _listed(leaf: Any) -> Any:
    """Tuples as lists: torch.distributed.checkpoint looks for tensors in these."""
    return [_listed(entry) for entry in leaf] if isinstance(leaf, list | tuple) else leaf


def _fits(leaf: Any, parameters: Vectors) -> bool:
    """Whether a leaf without a record of its owners can be theirs: one that is no list, or of tensors with their shapes."""
    if not isinstance(leaf, list):
        return True
    shapes = [getattr(entry, "shape", None) for entry in leaf]
    return shapes == [p.shape for p in parameters]
