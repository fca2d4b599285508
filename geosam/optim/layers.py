"""Optimizers that wrap the one that steps: which they are, their hooks, and a step that they leave out."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import torch
from torch.optim import Optimizer

from ..core import Vectors
from ..core import vectors as vec

_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")


def layers(base: Optimizer) -> list[Optimizer]:
    """The optimizer and those inside, from outside: a wrapper's is the one among its attributes that has its groups."""
    held = (part for part in vars(base).values() if isinstance(part, Optimizer))
    inner = next((part for part in held if part.param_groups is base.param_groups), None)
    return [base] if inner is None else [base, *layers(inner)]


def ends(base: Optimizer) -> tuple[Optimizer, Optimizer]:
    """(the outermost one that may read parameters or gradients, the one that moves parameters), with their hooks.

    Accelerate's wrapper reads neither, and leaves steps out.
    """
    chain = layers(base)
    inner = chain[-1]
    outer = next(o for o in chain if o is inner or not type(o).__module__.startswith("accelerate."))
    return hooked(outer), hooked(inner)


def hooked(optimizer: Optimizer) -> Optimizer:
    """The optimizer, with hooks on its step, which torch does not call where its constructor was left out (timm's Lookahead).

    Torch puts the call into the class: other optimizers of it, which have no hooks, then find none.
    """
    kind = type(optimizer)
    if not getattr(kind.step, "hooked", False) or not all(name in vars(optimizer) for name in _HOOKS):
        Optimizer.__setstate__(optimizer, {})  # what torch completes after unpickling, hooks among it
        for name in _HOOKS:
            if not hasattr(kind, name):
                setattr(kind, name, MappingProxyType({}))
    return optimizer


def closure_in(args: Any, kwargs: Any) -> Any:
    """The closure among the arguments of a step; None if there is none."""
    return kwargs.get("closure", args[1] if len(args) > 1 else None)


def with_closure(closure: Callable[[], Any], args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments with another closure."""
    if "closure" in kwargs:
        return args, {**kwargs, "closure": closure}
    return (args[0], closure, *args[2:]), kwargs


def gradients_again(parameters: Vectors) -> Callable[[], None]:
    """A function that gives the parameters the gradients that they have now, the same tensors where these are strided."""
    grads = [(p, p.grad, None if p.grad is None else p.grad.clone()) for p in parameters]

    @torch.no_grad()
    def give_back() -> None:
        for p, grad, value in grads:
            if grad is not None and value is not None and grad.layout == torch.strided:
                grad.copy_(value)
            p.grad = value if grad is not None and grad.layout != torch.strided else grad

    return give_back


def at_another_point(closure: Callable[[], Any], parameters: Vectors) -> Callable[[], Any]:
    """The closure, with the parameters as they are now for as long as it runs, whatever they are when it is called."""
    there = vec.clone(parameters)

    def run() -> Any:
        here = vec.clone(parameters)
        _put(parameters, there)
        try:
            return closure()
        finally:
            _put(parameters, here)

    return run


@torch.no_grad()
def _put(parameters: Vectors, values: Vectors) -> None:
    vec.copy_(parameters, values)
