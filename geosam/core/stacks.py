"""Torch's own stacks and switches (grad mode, modes, levels of transforms, autocast, kernels), and how they are set back.

A signal may raise between any two bytecodes, also inside the ``__exit__`` of torch's own contexts, which then end half way.
:mod:`geosam.core.undo` notes how torch was, and sets all of this back where anything was raised.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.utils import _python_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

_c: Any = torch._C
_functorch: Any = _c._functorch
_autograd: Any = _c._autograd


def eager() -> AbstractContextManager[Any]:
    """A context in which compiled models run in eager mode. Dynamo, whose import takes seconds, is not loaded for this."""
    # what is compiled has loaded it
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


class Watch(TorchDispatchMode):
    """A mode that sees every operation. In eager mode: dynamo is not loaded to be kept out of its handler."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def _pairs() -> list[tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """Switches, as (what reads one, what sets it)."""
    found = [
        (torch.is_grad_enabled, _c._set_grad_enabled),
        (_c._is_fwd_grad_enabled, _c._set_fwd_grad_enabled),
        (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
        (_c._get_torch_function_state, _c._set_torch_function_state),
        (_c._get_mkldnn_enabled, _c._set_mkldnn_enabled),
        (_c._get_mkldnn_deterministic, _c._set_mkldnn_deterministic),
        (_c._get_cudnn_enabled, _c._set_cudnn_enabled),
        (_c._get_cudnn_benchmark, _c._set_cudnn_benchmark),
        (_c._get_cudnn_deterministic, _c._set_cudnn_deterministic),
        (_c._get_cudnn_allow_tf32, _c._set_cudnn_allow_tf32),
        (_functorch.get_single_level_autograd_function_allowed, _functorch.set_single_level_autograd_function_allowed),
    ]
    for name in ("flash", "mem_efficient", "math", "cudnn"):
        found.append((getattr(_c, f"_get_{name}_sdp_enabled"), getattr(_c, f"_set_sdp_use_{name}")))
    for kind in ("cpu", "cuda"):
        set_it = functools.partial(torch.set_autocast_enabled, kind)
        found.append((functools.partial(torch.is_autocast_enabled, kind), set_it))
        found.append((functools.partial(torch.get_autocast_dtype, kind), functools.partial(torch.set_autocast_dtype, kind)))
    return found


_SWITCHES = _pairs()
# what torch keeps in attributes of its modules while it traces or transforms: (where, name)
_ATTRIBUTES = [
    (torch.nn.Module, "__call__"),
    (torch.nn.Module, "__getattr__"),
    *((_python_dispatch, name) for name in vars(_python_dispatch) if name.startswith("_is_in_")),
    (forward_ad, "_current_level"),
    (warnings, "filters"),
    (warnings, "showwarning"),
]
_LATER = [  # the same, of modules that may not have been loaded
    ("torch._functorch.eager_transforms", "JVP_NESTING"),
    ("torch.fx._symbolic_trace", "CURRENT_PATCHER"),
    ("torch.fx._symbolic_trace", "_is_fx_tracing_flag"),
    ("torch.fx.experimental.proxy_tensor", "_CURRENT_MAKE_FX_TRACER"),
    ("torch._dynamo.eval_frame", "_stance"),
]
_MISSING = object()


class Stacks:
    """How torch is now. ``restore`` may be repeated, and may begin where an earlier one was broken off."""

    def __init__(self) -> None:
        self.switches = [read() for read, _ in _SWITCHES]
        later = [(sys.modules[module], name) for module, name in _LATER if module in sys.modules]
        self.attributes = [(where, name, vars(where).get(name, _MISSING)) for where, name in (*_ATTRIBUTES, *later)]
        self.tracing = _tracing_flag()
        self.functions = _functions()
        self.dispatch = _dispatch()
        self.depth = _functorch.get_dynamic_layer_stack_depth()
        self.hooks = _autograd._top_saved_tensors_default_hooks(True)
        self.disabled = _autograd._saved_tensors_hooks_get_disabled_error_message()
        self.autocast = _depth(_c.autocast_increment_nesting, _c.autocast_decrement_nesting)
        self.batched = _depth(_c._vmapmode_increment_nesting, _c._vmapmode_decrement_nesting)

    def restore(self) -> None:
        """Make torch as it was."""
        # first, as such a mode sees what sets the switches
        _same(self.functions, _functions, _c._pop_torch_function_stack, _c._push_on_torch_function_stack)
        if _functorch.get_dynamic_layer_stack_depth() > self.depth:
            _functorch.pop_dynamic_layer_stack_and_undo_to_depth(self.depth)
        self._leave_dual_levels()
        _same(self.dispatch, _dispatch, lambda: _c._pop_torch_dispatch_stack(None), _c._push_on_torch_dispatch_stack)
        _autograd._saved_tensors_hooks_enable()
        while (top := _autograd._top_saved_tensors_default_hooks(True)) is not None and top != self.hooks:
            _autograd._pop_saved_tensors_default_hooks()
        if self.disabled is not None:
            _autograd._saved_tensors_hooks_disable(self.disabled)
        while _c._vmapmode_increment_nesting() - 1 > self.batched:  # of batched gradients, which torch.func does not count
            _c._vmapmode_decrement_nesting()
            _c._vmapmode_decrement_nesting()
        _c._vmapmode_decrement_nesting()
        while _c.autocast_increment_nesting() - 1 > self.autocast:
            _c.autocast_decrement_nesting()
            _c.autocast_decrement_nesting()
        _c.autocast_decrement_nesting()
        torch.clear_autocast_cache()
        for where, name, value in self.attributes:
            if value is not _MISSING and vars(where).get(name, _MISSING) is not value:
                setattr(where, name, value)
        if hasattr(warnings, "_filters_mutated"):
            warnings._filters_mutated()
        if self.tracing is not None:
            self.tracing[0](self.tracing[1])
        for value, (_, write) in zip(self.switches, _SWITCHES, strict=True):
            write(value)

    def _leave_dual_levels(self) -> None:
        # torch's count in Python may be behind that in C++, which nothing shows but that a level can be left
        known = next(value for where, name, value in self.attributes if name == "_current_level")
        with suppress(RuntimeError):
            _c._exit_dual_level(level=known + 1)


def _depth(enter: Callable[[], int], leave: Callable[[], int]) -> int:
    # one call from C: between two of them in Python, a signal would leave the depth one too large
    entered, _ = map(type(enter).__call__, (enter, leave))
    return entered - 1


def _functions() -> list[Any]:
    return [_c._get_function_stack_at(i) for i in range(_c._len_torch_function_stack())]


def _dispatch() -> list[Any]:
    return list(_python_dispatch._get_current_dispatch_mode_stack())


def _tracing_flag() -> tuple[Callable[[bool], None], bool] | None:
    trace: Any = sys.modules.get("torch.fx._symbolic_trace")
    read = getattr(trace, "_get_is_fx_tracing", None)
    return None if read is None else (trace._set_is_fx_tracing, read())


def _same(wanted: list[Any], now: Callable[[], list[Any]], pop: Callable[[], Any], push: Callable[[Any], Any]) -> None:
    while len(now()) > len(wanted) or any(a is not b for a, b in zip(now(), wanted, strict=False)):
        pop()
    for mode in wanted[len(now()) :]:
        push(mode)
