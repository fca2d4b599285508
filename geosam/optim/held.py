"""θ + ε* held in the parameters over a second pass that a trainer or a user's loop makes, until the base optimizer's step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..core.undo import unless_raised
from ..observation.closures import Seen, seen, still
from .backward import at_the_end
from .last import Perturbed
from .layers import at_another_point, closure_in, ends, gradients_again, with_closure
from .mark import Mark
from .rule import Rule
from .step import Step
from .trainers import STEPPED_INSIDE, check_unscaled

UNTIL = ("step", "backward")

_UNSEEN = (
    "until='backward' is not known under fully_shard, whose gradients arrive apart from autograd's hooks: use until='step', "
    "and opt.restore() where the loop evaluates or saves in between."
)
_ELSEWHERE = (
    "{} reads the gradients of both passes, and those that the base optimizer is given were not left in .grad by the backward "
    "pass inside opt.perturbed(...). Call loss.backward() inside the block, or use opt.step(closure); for a step of the base "
    "optimizer alone set opt.update = geosam.updates.Sharp()."
)


class Held:
    """What lasts from :meth:`SAM.perturb`, or a block of :meth:`SAM.perturbed`, until the base optimizer steps. Copies hold
    nothing.
    """

    def __init__(self) -> None:
        self._step: Step | None = None
        self._kept: Any | None = None
        self._times = 0
        self._left: list[Seen] | None = None
        """The gradients that a block left, by which its base step is recognised."""
        self._base: torch.optim.Optimizer | None = None
        self._backward: Any = None
        self._mark: Mark | None = None
        self._inside = False
        """Whether a wrapper of the base optimizer steps, before which the pass has ended."""
        self._undo: Callable[[], None] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Held, ()

    @property
    def waits(self) -> bool:
        """Whether the base optimizer has not stepped since, and its gradients are those of the second pass."""
        return self._step is not None and self._ours(self._step)

    def begin(self, step: Step, until: str) -> None:
        """Displace the parameters, which are at θ. What ``.grad`` holds stays, for the second pass to add to."""
        self._listen(step)
        self._stop_listening()
        self._inside, self._undo = False, None
        grads = [p.grad for p in step.parameters]

        def give_back() -> None:
            for p, grad in zip(step.parameters, grads, strict=True):
                p.grad = grad

        def first_pass() -> None:
            for p in step.parameters:
                p.grad = None
            step.first_alone()
            give_back()

        unless_raised(first_pass, give_back)
        kept, step.kept, step.landing = step.kept, None, None
        if until == "backward":
            if step.rule.move.gathers:
                step.safety.put_back()
                raise NotImplementedError(_UNSEEN)
            if kept is not None:
                step.safety.put_back()
                raise ValueError(f"{step.rule.update} is made when the base optimizer steps: use until='step'")
            self._backward = at_the_end(step.parameters, step.safety.put_back)
        elif kept is not None:
            self._join(step, kept, grads)
        self._step, self._left = step, None
        self._mark = Mark(step.parameters) if until == "step" else None

    def overwritten(self) -> bool:
        """Whether others have written to the parameters since, which θ undoes; asked once."""
        mark, self._mark = self._mark, None
        return mark is not None and mark.overwritten

    @contextmanager
    def block(self, step: Step) -> Iterator[Perturbed]:
        """:meth:`Step.alone`; the gradients of a second pass inside are the base optimizer's, with the update and the guard."""
        self._listen(step)
        self.drop()
        with step.alone() as p:
            yield p
            kept, left = step.kept, [seen(q) for q in step.parameters]
        if any(left) or kept is not None:
            self._step, self._kept, self._times, self._left = step, kept, 1, left

    def _ours(self, step: Step) -> bool:
        return self._left is None or any(map(still, step.parameters, self._left))

    def _listen(self, step: Step) -> None:
        """Put hooks on the base optimizer, which stay: one that removes itself would change what torch iterates over."""
        if self._base is not step.rule.base:
            self._base = step.rule.base
            (outer, inner), rule = ends(self._base), step.rule  # a hook that held the step would hold its batch
            inner.register_step_pre_hook(self._before_step)
            inner.register_step_post_hook(lambda *_: None if self._inside else rule.move.lower())
            if outer is not inner:
                outer.register_step_pre_hook(self._before_wrapper)
                outer.register_step_post_hook(lambda *_: self._after_wrapper(rule))

    def drop(self) -> tuple[Step | None, list[Tensor] | None]:
        """Forget the pass, and return it; its parameters are put back by the caller."""
        self._stop_listening()
        self._inside, self._undo, self._mark = False, None, None
        dropped, self._step, self._kept, self._left = (self._step, self._kept), None, None, None
        return dropped

    def end(self, dropped: tuple[Step | None, list[Tensor] | None]) -> bool:
        """The base optimizer's step after all, with the gradients of a second pass, if there was one; whether there was."""
        step, kept = dropped
        if step is None or all(p.grad is None for p in step.parameters):
            return False
        self._step, self._kept = step, kept
        step.rule.base.step()
        return True

    def _stop_listening(self) -> None:
        if self._backward is not None:
            self._backward.remove()
            self._backward = None

    def _join(self, step: Step, kept: Any, grads: list[Tensor | None]) -> None:
        """With what the update kept before other micro-batches; those whose gradients were dropped (a skipped step) are out."""
        if self._kept is None or not any(grad is not None and bool(grad.any()) for grad in grads):
            self._kept, self._times = kept, 1
        else:
            self._kept = step.rule.update.joined(self._kept, kept, self._times)
            self._times += 1

    def _before_step(self, base: torch.optim.Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """The end of the step, now; where the base optimizer is given a closure, after that, which is the second pass."""
        if self._inside:
            self._undo = None  # it steps
            return None
        step, closure = self._step, closure_in(args, kwargs)
        if step is None or closure is None:
            self._end(base)
            return None
        if self._left is not None:  # the closure's own gradients, and no block's
            self.drop()
            return None

        def second_pass() -> Any:
            loss = unless_raised(closure, step.safety.put_back)
            self._end(base)
            return loss

        return with_closure(second_pass, args, kwargs)

    def _before_wrapper(self, base: torch.optim.Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """The same before a step that wraps another: it may read θ and gradients first, or leave the other one out."""
        self._inside = False
        undo: Callable[[], None] | None = None
        step, closure = self._step, closure_in(args, kwargs)
        if step is not None and closure is not None and self._left is None:
            args, kwargs = with_closure(at_another_point(closure, step.parameters), args, kwargs)
            step.rule.move.restore()
            undo = partial(_left_out, base)
        elif step is not None and closure is None and self.waits:
            undo = self._again(step)
        changed = self._before_step(base, args, kwargs)
        self._inside, self._undo = True, undo
        return changed

    def _again(self, step: Step) -> Callable[[], None]:
        """A function after which the step waits as it does now, with the gradients of now."""
        held, give_back = (step, self._kept, self._times, self._left), gradients_again(step.parameters)

        def undo() -> None:
            give_back()
            step.rule.steps -= 1
            self._step, self._kept, self._times, self._left = held

        return undo

    def _after_wrapper(self, rule: Rule) -> None:
        rule.move.lower()
        self._inside, undo, self._undo = False, self._undo, None
        if undo is not None:  # the one inside has not stepped
            undo()

    @torch.no_grad()
    def _end(self, base: torch.optim.Optimizer) -> None:
        """θ again; the update from both gradients, and the guard. Raises: RuntimeError for an update without the second one."""
        ours, overwritten = self.waits, self.overwritten()
        step, kept = self.drop()
        if step is None:
            return
        if not ours and kept is not None:
            raise RuntimeError(_ELSEWHERE.format(step.rule.update))
        if not ours:
            return
        lost = overwritten and all(p.grad is None for p in step.parameters)
        step.safety.put_back()
        if lost:
            raise RuntimeError(STEPPED_INSIDE)
        check_unscaled(step.rule)
        step.rule.steps += 1
        step.rule._opt_called = True  # type: ignore[attr-defined]  # which torch's schedules ask for
        scale: Tensor | None = getattr(base, "grad_scale", None)  # of a scaler, where the base optimizer unscales by itself
        step.turn.apply(kept, 1.0 if scale is None else scale.item())
        if scale is None:
            step.descent.leave_out()
        step.descent.clip(1.0 if scale is None else scale.item())
        step.descent.lift()


def _left_out(wrapper: torch.optim.Optimizer) -> None:
    raise RuntimeError(
        f"{type(wrapper).__name__} left out the closure of its step, the second pass after opt.perturb(...). Make that pass "
        "before the step, and call it without a closure."
    )
