"""One pass that serves all requests."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from dataclasses import replace

import torch

from ..core import Vectors, check_instance
from ..core.undo import undisturbed
from ..problem import Bound
from ..problem.devices import explained
from ..problem.frozen import frozen
from ..problem.kept import Kept
from ..problem.modules import modules
from ..problem.places import Known
from .gradient import plain
from .observation import Observation
from .request import Look, Needs, Request, TakeAgain
from .room import needed


@undisturbed
def observe(point: Bound | Observation, needs: Needs = (), who: str = "this request", train: bool = False) -> Observation:
    """The gradient at a bound problem's current parameters, and what ``needs`` asks for, by one forward and backward pass.

    point: ``problem.on(x, y)``; an observation is returned as it is, if it has what is needed. who: the caller, for errors.
    train: the pass belongs to a training step: it updates buffers (BatchNorm's running statistics), advances the global random
    state and drops old gradients. Otherwise it changes neither model nor random state, and repeated ones use one dropout mask.
    Raises: TypeError naming cause and cure where a request cannot be served.
    """
    if isinstance(point, Observation):
        return point.holding(needs, who)
    check_instance("a batch", point, Bound)
    needs, point = _distinct(needs), point.quiet()
    parameters = point.parameters
    names = point.names(parameters)
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            f"{who} is asked for inside torch.inference_mode(), where no gradient can be taken: use torch.no_grad()"
        )
    if not parameters:
        raise ValueError("the model has no parameter that requires a gradient: there is nothing to perturb")
    if train:
        point = replace(point, train=True)
        for p in parameters:  # the last step's gradients would only take memory
            p.grad = None
    if any(p.is_complex() for p in parameters):
        held = [name for name, p in zip(names, parameters, strict=True) if p.is_complex()]
        raise ValueError(
            f"{', '.join(held)}: complex parameters are not supported. Hold a real tensor, [..., 2], as the parameter and take "
            "torch.view_as_complex of it in the forward pass."
        )
    with explained(point), point.untouched():
        for request in needs:
            request.check(point, who)
        if needs or not train:
            point.facts(parameters)
        parts = modules(point.model) if train and needs else ()
        look, kept = None, Kept(point.remembered("places", Known).places(parts, frozen=False))
        while look is None:  # ends: each repetition is recorded by what asks for it
            replay = point.replay()
            try:
                with needed(point, needs, parameters, who):
                    look = _look(point, needs, parameters, train)
            except TakeAgain:
                replay.rewind()
                kept.restore()
    return Observation(look.theta, look.lead.gradient, look.lead.loss, names, {r: look.found[r] for r in needs})


def _distinct(needs: Needs) -> Needs:
    """Each request once. Raises: TypeError for what is no tuple of requests, or cannot be compared."""
    if not isinstance(needs, tuple) or not all(isinstance(request, Request) for request in needs):
        raise TypeError(f"needs is a tuple of requests, such as (PerSampleGradients(Auto()),); got {needs!r}")
    try:
        return tuple(dict.fromkeys(needs))
    except TypeError as error:
        raise TypeError(f"requests are compared, so that each is a frozen dataclass of hashable parts: {error}") from error


def _look(bound: Bound, needs: Needs, parameters: Vectors, train: bool) -> Look:
    replay = bound.replay()
    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        if not train:
            stack.enter_context(bound.replay())
            for request in needs:
                stack.enter_context(request.looking())
        apart = _apart(bound, needs, parameters)
        look = Look(bound, apart, parameters, replay, train)
        leads = (request.lead(look) for request in sorted(needs, key=lambda request: request.precedence))
        look.lead = next((lead for lead in leads if lead is not None), None) or plain(look)
        for request in needs:
            _ = look[request]
        if train and apart is bound and not look.itself:
            _carry(look)
    return look


def _carry(look: Look) -> None:
    """Leave in the model what a pass of its own leaves there, such as a recurrent state: copies of it were run.

    By one more forward pass; none where a pass leaves nothing behind.
    """
    if look.bound.writes.state:
        with torch.no_grad(), nullcontext() if look.replay.recorded else look.replay:
            look.bound.call(look.bound.model)


def _apart(bound: Bound, needs: Needs, parameters: Vectors) -> Bound:
    """The problem of per-sample quantities: the problem itself, or its copy with frozen statistics."""
    single = bound.frozen_statistics and any(request.single for request in needs)
    return frozen(bound, parameters) if single else bound


@undisturbed
def explain(bound: Bound, needs: Needs, who: str) -> str:
    """What the engine of the first request that has one would do for each parameter on this batch, and why."""
    check_instance("a batch", bound, Bound)
    bound, parameters = bound.quiet(), bound.parameters
    with bound.replay():
        apart = _apart(bound, needs, parameters)
        for request in needs:
            found = request.explain(apart, bound, parameters)
            if isinstance(found, str):
                return f"{who} takes matrix products in place of rows, and no engine is used: {found}."
            if found is not None:
                return "\n".join(f"{', '.join(choice.names)}: {choice.form} ({choice.why})" for choice in found)
    return f"{who} needs no per-sample gradients: no engine is used."
