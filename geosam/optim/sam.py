"""The optimizer: a facade around any base optimizer that runs one :class:`geosam.optim.step.Step` per update."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from ..core import Norm, Solver, brief, check_instance
from ..core.undo import undisturbed
from ..metrics import Euclidean
from ..objectives import Gradient
from ..observation import Metric, Objective, State, as_metric
from ..observation.closures import Skipped, Zeroing
from ..problem import Problem
from . import checkpoint, rehearsal
from .around import Around
from .audit import Audit
from .captured import Captured
from .clipping import check_max_norm
from .habits import check_assigned, with_cure
from .held import UNTIL, Held
from .last import Last, Perturbed
from .line_search import line_search, searches
from .memory import NAMES, Owners
from .move import Copy, Move
from .overflow import Overflow
from .passes import Both, Passes
from .processes import check_ball, check_reduced
from .recorder import refusal
from .replicas import Replicas
from .rule import Source
from .schedules import Schedule
from .statistics import Statistics, check_batchnorm
from .step import Step
from .suitable import check_parameters
from .trainers import NO_CLOSURE, NOT_THROUGH_SCALER, OVERWRITTEN, check_accumulation
from .updates import Sharp, Update
from .watch import Watch

_PARTS = {"objective": Objective, "move": Move, "update": Update, "passes": Passes, "solver": Solver}


class SAM(Around):
    """Sharpness-aware minimisation in any geometry, around any base optimizer.

    A step: observation at θ → c = objective, geometry = metric.at(θ) → ε* = argmax ⟨c, ε⟩ over ‖ε‖_θ ≤ rho → gradient at
    θ + ε* → θ restored bit for bit → ``base.step()`` with that gradient.

    base: an optimizer that holds the parameters; built from ``named_parameters()`` it gives their names to the metric.
    metric, objective, rho, solver: the geometry; a norm means the metric with this norm at every θ. Groups of ``base``
    may carry their own ``rho`` (``sam_rho`` where the base has a ``rho`` of its own, as Adadelta has): these become weights of
    one joint ball, ‖ε‖² = Σ_b (‖ε_b‖_b / rho_b)² ≤ 1, with the metric taken group by group. rho = 0 is the base optimizer's
    step. In groups with ``maximize`` the worst point is the one of lower value.
    move: how θ + ε gets into the parameters, :class:`geosam.Copy` or :class:`geosam.Swap`.
    A radius may be a schedule (:mod:`geosam.schedules`), by the number of steps taken, ``steps``.
    passes: which passes a step takes, :mod:`geosam.passes`; by default both.
    ball: over several processes, "global": one ε* for all, of the mean over them (metrics of the gradient, its squares, and KL
    along one); "rank": one a process, of its own samples (m-sharpness), for every metric. Published radii are those of a ball.
    batchnorm: the passes that update running statistics, and any other buffer: "first", at θ alone (as Foret et al.'s code);
    "both" (as ASAM's); "second", at θ + ε* alone. Where a step makes one pass, that one. A closure's buffers are those of the
    modules that it calls. same_mask: the second pass repeats the first one's random numbers, and so its dropout masks (torch's,
    Python's and numpy's, and those of generators that a problem's modules hold); by default it draws its own.
    update: what the base optimizer steps with, by default the gradient at θ + ε*; :class:`geosam.updates.SurrogateGap` is GSAM,
    :class:`geosam.updates.Natural` the natural gradient.
    max_norm: the norm to which the gradient that the base optimizer steps with is clipped, over all its parameters, after
    unscaling; the first pass is not clipped. Weight decay is the base optimizer's, and in no pass either.
    raise_nonfinite: raise FloatingPointError (θ restored, one host read per step) where a pass is not finite (with a scaler,
    which expects overflow, only the first). By default such a first pass gives ε* = 0, and such a second pass skips the
    update (on an accelerator the base optimizer steps with zero gradients).

    ``.grad`` after a step is the second pass's. param_groups and state are the base optimizer's own, so schedulers work; so are
    methods that torch's optimizers do not have (``train`` and ``eval`` of schedule-free ones).
    last: numbers of the last step, None before the first.
    Source: Foret et al. 2021; Kim et al. 2022, algorithm 1.
    """

    @with_cure
    def __init__(
        self,
        base: torch.optim.Optimizer,
        metric: Metric | Norm | None = None,
        rho: float | Schedule = 0.05,
        objective: Objective | None = None,
        *,
        solver: Solver | None = None,
        move: Move | None = None,
        update: Update | None = None,
        passes: Passes | None = None,
        ball: str = "global",
        batchnorm: str = "first",
        same_mask: bool = False,
        max_norm: float | None = None,
        raise_nonfinite: bool = False,
    ) -> None:
        super().__init__(base, rho)
        self.metric = Euclidean() if metric is None else metric
        self.objective = Gradient() if objective is None else objective
        self.move = Copy() if move is None else move
        self.update = Sharp() if update is None else update
        self.passes = Both() if passes is None else passes
        self.ball, self.max_norm = check_ball(ball), check_max_norm(max_norm)
        self.statistics, self.same_mask = Statistics(check_batchnorm(batchnorm)), bool(same_mask)
        self.solver, self.raise_nonfinite = solver, raise_nonfinite
        self._searches = searches(base)
        self.last: Last | None = None
        self.memory: dict[str, State] = {name: {} for name in NAMES}
        self.owners, self.zeroing, self.watch, self._warned = Owners(), Zeroing(), Watch(), False
        self.overflow, self.audit, self.replicas = Overflow(), Audit(), Replicas()
        self.held = Held()
        self._blank: dict[str, State] | None = None
        groups = self._groups()
        if not groups.parameters:
            raise ValueError("the base optimizer holds no parameter that requires a gradient: there is nothing to perturb")
        if not any(map(is_lazy, groups.parameters)):  # these may still be initialised before the first step
            check_parameters(groups.parameters, groups.names)

    @property
    def metric(self) -> Metric:
        """The geometry. An assigned norm becomes the metric with this norm at every θ."""
        return self._metric

    @metric.setter
    def metric(self, metric: Metric | Norm) -> None:
        self._metric = as_metric(metric)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _PARTS and not (name == "solver" and value is None):
            check_instance(name, value, _PARTS[name])
        if type(self) is SAM and "_blank" in vars(self) and not (name in vars(self) or hasattr(SAM, name) or name[0] == "_"):
            check_assigned(self, name, SAM.__init__)
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        parts = {"base": type(self.base).__name__, "metric": self.metric, "objective": self.objective}
        parts |= {"solver": self.solver, "move": type(self.move).__name__, "update": self.update, "ball": self.ball}
        parts |= {"batchnorm": self.statistics.which, "same_mask": self.same_mask or None}
        parts["max_norm"] = self.max_norm
        lines = "".join(f"\n    {name}: {value}" for name, value in parts.items() if value is not None)
        return super().__repr__().replace(" (", " (" + lines, 1)

    @undisturbed
    @torch.optim.Optimizer.profile_hook_step  # torch does so with the first optimizer, outside of what sets its stacks back
    @torch.no_grad()
    def step(self, closure: Source | None = None, scaler: Any = None) -> Tensor | None:  # type: ignore[override]
        """One update; the loss at θ, detached. None, and no update, if the closure skips its batch: returns None, no gradient.

        closure: ``problem.on(x, y)``; a list of such, micro-batches of one ball, whose loss is that of the joined batch; or a
        closure that zeroes gradients, runs forward and backward and returns the loss, called twice. scaler: a GradScaler. A
        closure scales its own loss with it, a problem's is scaled here; call ``scaler.update()`` afterwards, which lowers the
        scale after an overflow in either pass.
        The parameters are restored whatever is raised in between.
        """
        if "grad_scale" in vars(self):
            del self.grad_scale
            raise TypeError(NOT_THROUGH_SCALER)
        if closure is None:
            if not self.held.waits:
                self.held.drop()
                self._rehearse()
            self.base.step()
            return None if self.last is None else self.last.loss.detach()
        began = time.perf_counter()
        self.restore()
        dropped = self.held.drop()
        check_accumulation()
        if scaler is not None and self._searches:
            raise TypeError(
                f"a GradScaler cannot drive {type(self.base).__name__}, which steps by itself; use bfloat16 or float32"
            )
        groups = self._groups()
        try:
            step = Step(self, closure, groups, scaler)
            check_reduced(step.route.problem)
            loss = line_search(step) if self._searches else step.run()
            self.steps += 1
            if self.last is not None:
                self.last = replace(self.last, seconds=time.perf_counter() - began)
            return loss
        except Skipped as skipped:
            if self.held.end(dropped):  # by a trainer whose closure has nothing left to compute
                return None if self.last is None else self.last.loss.detach()
            self._warn(skipped)
            return None

    step.hooked = True  # type: ignore[attr-defined]

    def _warn(self, skipped: Skipped) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(f"{skipped}; later ones are skipped without a warning", stacklevel=4)

    def perturbed(self, source: Source, scaler: Any = None) -> AbstractContextManager[Perturbed]:
        """Run the first pass; inside, the parameters sit at θ + ε*; outside they are restored bit for bit, always.

        A backward pass inside may be the second one: ``base.step()`` after the block, or ``step()``, then ends the step, with
        the update, the guard and ``max_norm``. Gradients of elsewhere are stepped with as they are.

        Blocks do not nest: a second one, or a step, begins by restoring θ and so ends the first.
        """
        return self.held.block(Step(self, source, self._groups(), scaler))

    @undisturbed
    @torch.no_grad()
    def perturb(self, source: Source, until: str = "step", scaler: Any = None) -> Last | None:
        """The first pass as one line of any training loop: θ sits at θ + ε* while a trainer makes the second.

        The trainer's forward and backward, its scaling, clipping and accumulation go on as they are; what ``.grad`` holds
        already is kept. until="step": θ is back, bit for bit, when the base optimizer is about to step, or where ``restore``,
        ``state_dict``, ``eval``, the next ``perturb`` or ``step`` comes first; then the update is applied (to the mean over the
        perturbs since the last step) and gradients that are not finite are dropped. "backward": back when the next backward
        pass ends, for loops whose scaler may skip the base's step, or that evaluate or save in between.
        ``base.step()``, or ``step()`` without a closure, ends the step. Called before each of several micro-batches this is
        m-sharpness, one ε* a micro-batch; before the first one only, one ε* from that one's gradient.
        scaler: a GradScaler. A closure scales its own loss with it; a problem is differentiated at its scale, for float16.
        Returns: the numbers of the first pass; None where the closure skips its batch, and θ stays.
        Raises: ValueError for another ``until``, and for "backward" with an update that reads both gradients; TypeError for
        base optimizers that call closures themselves; RuntimeError, in the backward pass, for a second one after "backward".
        """
        if until not in UNTIL:
            cure = "; a batch is one source, opt.perturb(problem.on(x, y))" if isinstance(until, Tensor) else ""
            raise ValueError(f"until is one of {', '.join(UNTIL)}, got {brief(until)}{cure}")
        if self._searches:
            raise TypeError(f"{type(self.base).__name__} calls a closure several times in a step: use opt.step(closure)")
        self.restore()
        try:
            self.held.begin(Step(self, source, self._groups(), scaler), until)
        except Skipped as skipped:
            self._warn(skipped)
            return None
        return self.last

    def restore(self) -> None:
        """θ again, bit for bit, after ``perturb``; nothing else. May be called at any time.

        Raises: RuntimeError, then, where others have written to the parameters since ``perturb(until="step")``.
        """
        lost = self.held.overwritten()
        self.move.restore()
        self.statistics.restore()
        if lost:
            raise RuntimeError(OVERWRITTEN)

    def eval(self) -> Any:
        """Restore θ, and call the base optimizer's own ``eval`` if it has one (schedule-free optimizers)."""
        self.restore()
        return self.base.eval() if hasattr(self.base, "eval") else None

    def captured(self, problem: Problem, x: Any, y: Any) -> Captured:
        """``step(x, y)``, a whole step as one CUDA graph for batches like this one: see :class:`geosam.optim.Captured`.

        Nothing is changed by the call itself: weights, buffers, state and the random state are set back after rehearsals.
        Raises: RuntimeError, with the reason, where a graph would not do what ``step`` does.
        """
        if self._searches:
            raise refusal(f"{type(self.base).__name__} decides on the host how many passes it takes")
        groups = self._groups()
        self.owners.sort(self.memory, groups.parameters, groups.names)  # before the memory is set aside for rehearsals
        return Captured(self, problem, x, y)

    def _rehearse(self) -> None:
        """For torch.distributed.checkpoint, which steps a fresh optimizer to see what it keeps. Raises: TypeError otherwise."""
        if not rehearsal.is_rehearsal(self):
            raise TypeError(NO_CLOSURE)
        groups = self._groups()
        self._blank = rehearsal.blank(self, groups.parameters, groups.names)

    def state_dict(self) -> dict[str, Any]:
        """The base optimizer's state_dict, with memory and generators of objective, metric and solver under "geosam";
        where torch.distributed.checkpoint asks, the same is in the first parameter's state, where that keeps it.

        Where ``perturb`` holds θ + ε*, θ is restored first.
        """
        self.restore()
        for before in self._optimizer_state_dict_pre_hooks.values():
            before(self)
        blank = None if self.steps or any(self.memory.values()) else self._blank
        state = checkpoint.saved(self, self._groups(), blank)
        return _through(self._optimizer_state_dict_post_hooks, self, state)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load all of it. A checkpoint of the plain base optimizer is accepted: then all memory is empty."""
        self.restore()
        self.held.drop()
        state = _through(self._optimizer_load_state_dict_pre_hooks, self, dict(state_dict))
        checkpoint.load(self, self._groups(), state)
        self._groups()  # a plain base optimizer's checkpoint has no radii
        for after in self._optimizer_load_state_dict_post_hooks.values():
            after(self)


def _through(hooks: Mapping[int, Callable[..., Any]], opt: SAM, state: dict[str, Any]) -> dict[str, Any]:
    """The state as the hooks return it, or as they leave it."""
    for hook in hooks.values():
        changed = hook(opt, state)
        state = state if changed is None else changed
    return state


# GradScaler sets its scale as an attribute on optimizers with this flag: so step() detects a call by a scaler.
SAM._step_supports_amp_scaling = True  # type: ignore[attr-defined]
