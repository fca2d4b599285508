"""A private copy of a model: the same computation with other tensors, while the model itself is never touched."""

from __future__ import annotations

import collections
import functools
import types
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .data import defines_copying, is_array, is_data, is_scalar, named, put
from .modules import modules

_ATOMS = {int, float, str, bool, type(None), complex, bytes, torch.dtype, torch.device, torch.Size, type, types.ModuleType}
_OWN = ("_parameters", "_buffers", "_modules")
_STANDARD = set(vars(nn.Module()))
_HOOKS = tuple(name for name in _STANDARD if "hooks" in name)
_CONTAINERS = {dict, collections.OrderedDict, collections.defaultdict, list, collections.deque, set}


class Copy:
    """Copies of objects that may lead to the modules or the tensors of a model.

    A module's copy is a new object of its class with dictionaries of its own. Lists, dictionaries and plain objects that it
    holds are copied, so that what a forward pass writes is written in the copy. Methods, functions (their cells, defaults and
    globals), partial functions and weak references are made anew where they lead to a module. Tensors are shared, apart from
    those ``replaced`` (id → the one to use) and from buffers, which are cloned. All else is shared: classes, and what an
    object or a function holds that is no container. again: modules to use for the copies, from an earlier time. clones:
    whether tensors that are plain attributes are cloned. modules: the copies, in order. plain: (such a tensor, the one used).
    """

    def __init__(
        self, replaced: Mapping[int, Any] | None = None, again: Sequence[nn.Module] = (), clones: bool = False
    ) -> None:
        self.modules: list[nn.Module] = []
        self.plain: list[tuple[Tensor, Tensor]] = []
        self._clones = clones
        self._made: dict[int, Any] = dict(replaced or {})
        self._originals: list[Any] = []  # as long as their ids are keys
        self._nested, self._again = False, iter(again)

    def of(self, value: Any) -> Any:
        """The copy, or the value itself where nothing of it has to be copied."""
        kind = value.__class__
        if kind in _ATOMS:
            return value
        made = self._made.get(id(value))
        if made is not None:
            return made
        if isinstance(value, Tensor):
            self.plain.append((value, value.detach().clone() if self._clones else value))
            return self._known(*self.plain[-1])
        if isinstance(value, nn.Module):
            return self._module(value, bool(self.modules))
        if kind in _CONTAINERS:
            return self._container(value)
        if kind is tuple or hasattr(value, "_fields"):
            return self._tuple(value)
        return self._callable(value)

    def _known(self, value: Any, new: Any) -> Any:
        self._made[id(value)] = new
        self._originals.append(value)
        return new

    def _module(self, module: nn.Module, hidden: bool) -> nn.Module:
        """hidden: it was reached by an attribute, so that its parameters are none of the model's."""
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                f"{type(module).__name__} is compiled by torch.jit: no copy of it can compute with other parameters. Build the "
                "problem with the module that was scripted or traced, or take steps with a metric that needs only the gradient."
            )
        old = next(self._again, None)
        new: nn.Module = self._known(module, old if type(old) is type(module) else object.__new__(type(module)))
        self.modules.append(new)
        held, nested = vars(module).copy(), self._nested
        new.__dict__ = held
        self._nested = False
        parameters, buffers, parts = (held[name].copy() for name in _OWN)
        held.update(_parameters=parameters, _buffers=buffers, _modules=parts)
        for k, p in parameters.items():
            still = hidden and p is not None and not p.requires_grad
            parameters[k] = self._made.get(id(p)) if id(p) in self._made else self.of(p) if still else p
        for k, b in buffers.items():
            if b is not None:
                made = self._made.get(id(b))
                buffers[k] = self._known(b, b.clone()) if made is None else made
        for k, m in parts.items():
            if m is not None:
                made = self._made.get(id(m))
                parts[k] = self._module(m, hidden) if made is None else made
        for name in _HOOKS:
            held[name] = self.of(held[name]) if held[name] else held[name].copy()
        for name in held.keys() - _STANDARD:
            v = held[name]
            if v.__class__ not in _ATOMS:
                held[name] = self.of(v)
        self._nested = nested
        return new

    def _container(self, value: Any) -> Any:
        keyed = isinstance(value, dict)
        atoms = _ATOMS.issuperset(map(type, value)) and not (keyed and not _ATOMS.issuperset(map(type, value.values())))
        if self._nested and atoms:
            return value
        new = self._known(value, value.copy())
        if atoms:
            return new  # quickly: a vocabulary may be long
        new.clear()
        if keyed:
            new.update([(self.of(k), self.of(v)) for k, v in value.items()])
        elif isinstance(value, set):
            new.update(map(self.of, value))
        else:
            new.extend(map(self.of, value))
        if self._nested and _alike(new, value):
            return self._known(value, value)
        return new

    def _tuple(self, value: Any) -> Any:
        items = [self.of(v) for v in value]
        if all(a is b for a, b in zip(items, value, strict=True)):
            return value
        return self._known(value, tuple(items) if type(value) is tuple else type(value)(*items))

    def _callable(self, value: Any) -> Any:
        kind = type(value)
        if kind is types.MethodType:
            owner = self.of(value.__self__)
            return value if owner is value.__self__ else types.MethodType(value.__func__, owner)
        if kind is functools.partial:
            new = functools.partial(self.of(value.func), *map(self.of, value.args), **self._container(value.keywords))
            return self._known(value, new)
        if kind is types.FunctionType:
            return self._function(value)
        if kind is RemovableHandle:
            return self._handle(value)
        if kind is weakref.ref:
            target = self._made.get(id(value()))
            return value if target is None else weakref.ref(target)
        return self._object(value)

    def _function(self, value: types.FunctionType) -> types.FunctionType:
        """With copies in its cells, its defaults and the globals that it names, if one of them is copied."""
        self._known(value, value)  # a function may hold itself
        nested, self._nested = self._nested, True
        cells = tuple(map(self._cell, value.__closure__ or ()))
        defaults, keywords = self.of(value.__defaults__), self.of(value.__kwdefaults__)
        known = {k: value.__globals__.get(k) for k in value.__code__.co_names}
        names = {k: self.of(v) for k, v in known.items() if isinstance(v, nn.Module)}
        self._nested = nested
        same = all(a is b for a, b in zip(cells, value.__closure__ or (), strict=True)) and defaults is value.__defaults__
        if same and not keywords and not names:
            return value
        scope = {**value.__globals__, **names} if names else value.__globals__
        new = types.FunctionType(value.__code__, scope, value.__name__, defaults, cells)
        new.__kwdefaults__ = keywords
        new.__dict__.update(value.__dict__)
        return self._known(value, new)  # type: ignore[no-any-return]

    def _cell(self, cell: types.CellType) -> types.CellType:
        try:
            content = cell.cell_contents
        except ValueError:  # empty
            return cell
        new = self.of(content)
        return cell if new is content else types.CellType(new)

    def _handle(self, value: RemovableHandle) -> RemovableHandle:
        """Of a hook, which in a copy removes the copy's."""
        new: RemovableHandle = object.__new__(RemovableHandle)
        vars(new).update({k: self.of(v) for k, v in vars(value).items()})
        return new

    def _object(self, value: Any) -> Any:
        """A plain object that a module, or a container of a module, holds; within another one if it is data."""
        kind, data = type(value), is_data(value)
        simple = kind is types.SimpleNamespace
        if is_array(value):
            return self._known(value, value.copy()) if self._clones else value
        if is_scalar(value) or (self._nested and not data) or (not simple and defines_copying(kind)):
            return value
        if not data and not hasattr(value, "__dict__"):
            return value
        try:
            new = kind() if simple else object.__new__(kind)
        except TypeError:  # of a type that is written in C
            return value
        self._known(value, new)
        nested, self._nested = self._nested, not data
        for name, v in named(value).items():
            put(new, name, {name: self.of(v)})
        self._nested = nested
        return new


def _alike(a: Any, b: Any) -> bool:
    """Whether two containers hold the same objects."""
    pairs = zip((*a, *a.values()), (*b, *b.values()), strict=True) if isinstance(a, dict) else zip(a, b, strict=True)
    return all(x is y for x, y in pairs)


def carry_buffers(copy: nn.Module, original: nn.Module) -> None:
    """Give the original the values that a pass left in the buffers of its copy."""
    for new, old in zip(modules(copy), modules(original), strict=True):
        for k, b in new._buffers.items():
            mine = old._buffers[k]
            if b is None or mine is None or b.shape != mine.shape or b.dtype != mine.dtype:
                old._buffers[k] = b
            else:
                mine.copy_(b)
