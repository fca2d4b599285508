"""One step: observe, solve, displace, second pass, restore, update."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..core import Divergence, Landing, Loan, Norm, Perturbation, Vectors
from ..core import vectors as vec
from ..core.sharded import any_sharded
from ..core.undo import undisturbed, unless_raised
from ..metrics.blockwise import product
from ..observation import Field, Metric, Observation, State, name_of, observe_closure
from ..observation.closures import run
from ..problem import Bound, Together
from ..problem.randomness import Replay
from ..solvers import solve
from .buffers import Buffers
from .descent import Descent
from .groups import Groups
from .landing import arrive, lands
from .last import Last, Perturbed
from .masks import models, random_numbers
from .overflow import scale_of
from .passes import averages
from .processes import check_sharded, group_of, inside, mean, observed, over_mesh, processes, same_buffers, shared_geometry
from .rounding import displace
from .rule import Rule, Source
from .told import reads_direction
from .trainers import wrapped

T = TypeVar("T")


class Step(Descent):
    """The state of one step: its source and groups, what the update keeps of pass 1, a landing that pass 2 can use.

    Of a trainer's closure around a problem pass 1 takes the problem; pass 2 calls the closure, and so does what it adds.
    scaler: a GradScaler. A closure scales its own loss with it, a problem's is scaled here.
    """

    def __init__(self, rule: Rule, source: Source, groups: Groups, scaler: Any = None) -> None:
        self.rule, self.groups, self.parameters = rule, groups, groups.parameters
        self.source: Callable[[], Any] = Together(source) if isinstance(source, list | tuple) else source  # type: ignore[assignment]
        held = wrapped(source)
        self.wrapper: Callable[[], Any] | None = None if held is None else self.source
        problem = self.source if held is None else held
        if held is not None and scaler is not None:
            raise TypeError("a scaler goes with a closure that scales its own loss, or with problem.on(x, y) itself")
        self.scaler, self.scale = scaler, scale_of(scaler, self.parameters[0])
        self.bound = problem.wrt(self.parameters) if isinstance(problem, Bound | Together) else None
        if self.bound is not None and held is None:
            self.source = self.bound = self.bound if self.scale is None else self.bound.scaled(self.scale)
        self.inner = None if self.bound is None else inside(self.bound)
        if not callable(self.source):
            raise TypeError(f"step() needs a closure or problem.on(x, y), got {type(source).__name__}")
        self.on_mesh = any_sharded(self.parameters)
        if self.on_mesh:
            check_sharded(self.bound, rule.ball)
        if self.bound is None and rule.ball == "rank" and processes() > 1:
            raise NotImplementedError("ball='rank' takes problem.on(x, y): a closure's gradients are reduced by its wrapper")
        self.kind = rule.passes.kind(rule.steps)
        self.reads = rule.update.reads(rule.metric)
        self.kept: Any | None = None
        self.buffers = Buffers(rule.statistics, models(self.inner), self.parameters)
        self.replay: Replay | None = None
        self.remembered: dict[str, State] = {}
        self.landing: Landing | None = None
        self.observed = True

    def closure(self) -> Any:
        """One pass of the closure."""
        with self.buffers.calls(self.source):
            return self.source()

    @property
    def shares(self) -> bool:
        """Whether the first pass is to be averaged over processes; a closure's wrapper does it by itself, and so does FSDP2."""
        return self.bound is not None and self.rule.ball == "global" and processes() > 1 and not self.on_mesh

    @property
    def is_plain(self) -> bool:
        """Whether the step is the base optimizer's own."""
        return self.groups.at_rest or self.kind == "plain"

    def run(self) -> Tensor:
        """The whole step; the loss at θ."""

        def acts() -> Tensor:
            loss = self.gradient()
            self.descend()
            return loss

        return self.whole(acts)

    def gradient(self) -> Tensor:
        """All passes, which leave in ``.grad`` what the base optimizer steps with; the loss at θ."""
        return self.rest() if self.is_plain else self.sharpen()

    def sharpen(self) -> Tensor:
        """Both passes and the update; the loss at θ."""
        # observe at θ, solve for ε*, displace; on leaving, restore
        with self.displaced(self.first_pass) as p, self.replay or nullcontext():
            loss, kept = self.second_pass(), self.kept
        self.turn(kept)
        if self.observed or loss is None:
            return p.loss.detach()
        assert self.rule.last is not None
        self.rule.last = replace(self.rule.last, loss=loss.detach())
        return loss.detach()

    def whole(self, acts: Callable[[], T]) -> T:
        """What ``acts`` returns; where anything is raised, parameters, buffers and memory are those before the passes."""

        def undo() -> None:
            self.put_back()
            self.buffers.restore()
            self.rule.memory.update(self.remembered)

        def all_acts() -> T:
            self.buffers.begin()
            found = acts()
            self.buffers.finish()
            return found

        return unless_raised(all_acts, undo)

    @contextmanager
    def alone(self) -> Iterator[Perturbed]:
        """As :meth:`displaced`, for a second pass by hand: no gradient of the first is left for it to add to."""
        with self.displaced(self.first_alone) as p:
            for parameter in self.parameters:
                parameter.grad = None
            yield p

    @contextmanager
    def displaced(self, first: Callable[[], Last]) -> Iterator[Perturbed]:
        """``first``, the first pass; inside, the parameters sit at θ + ε*; outside they are restored bit for bit, always."""
        move, inside = self.rule.move, True
        self.put_back()  # after an interrupt between two steps

        def realised() -> list[Tensor]:
            if not inside:
                raise RuntimeError("epsilon lives inside the perturbed() block; copy it there to keep it")
            return move.realised(self.parameters)

        try:
            yield Perturbed(first(), realised)
        finally:
            inside, self.kept, self.landing = False, None, None
            try:
                self.put_back()
            finally:
                self.put_back()  # for an interrupt in the first line of that call

    def first_alone(self) -> Last:
        """The first pass of a step whose second one is somebody else's: an exception leaves the buffers as they were."""
        last = self.whole(self.first_pass)
        if self.replay is not None:
            self.replay.rewind()
        return last

    @undisturbed
    def first_pass(self) -> Last:
        """Observe at θ, solve for ε*, displace; nothing of it in a plain step."""
        if self.bound is not None:
            same_buffers(self.bound)
        last = self._first_pass()
        if self.observed and (self.reads is not None or not self.is_plain):
            self.buffers.between()
        return last

    def _first_pass(self) -> Last:
        if self.is_plain:
            if self.reads is not None:
                seen, self.kept = self._unmoved(self.reads)
                return self._resting(seen.loss)
            return self._resting(self._unknown(), torch.ones_like(self._unknown(), dtype=torch.bool))
        self.rule.owners.sort(self.rule.memory, self.parameters, self.groups.names)
        self.remembered = dict(self.rule.memory)  # states are replaced, never written to
        self.rule.move.prepare(self.parameters)
        if self.kind != "both" and (found := self._unobserved()) is not None:
            if self.reads is not None:
                raise TypeError(
                    f"{self.rule.update} reads a metric at θ, and {self.rule.passes} makes no pass there in this step"
                )
            self.observed = False
            return self.displace(found, self._unknown())
        fields = self.rule.metric, self.rule.objective, *(() if self.reads is None else (self.reads,))
        if self.rule.same_mask:
            self.replay = random_numbers(self.inner, self.parameters, *fields)
        # nested calls: no name here holds what the first pass made, for the second one needs the memory
        return self.displace(*self.solve(self._own(self.observe(*fields))))

    def _unobserved(self) -> Perturbation | None:
        """ε* without a pass at θ: the last one, or the momentum's; None while a parameter has none."""
        if self.kind == "again":
            epsilon = self.rule.memory["passes"].get("epsilon")
            if epsilon is None or any(e is None for e in epsilon):
                return None
            one = torch.ones_like(self._unknown())
            return Perturbation(epsilon, one, self._unknown(), self._unknown(), one > 0)
        momentum = averages(self.rule.base, self.parameters)
        if momentum is None:
            return None
        for field in (self.rule.metric, self.rule.objective):
            if field.needs:
                raise TypeError(f"{name_of(field)} needs more than a gradient, and passes.Momentum() makes no pass for it")
        return self.solve(Observation(self.parameters, momentum, torch.zeros_like(self._unknown()), self.groups.names))[0]

    def _unknown(self) -> Tensor:
        return torch.full((), math.nan, dtype=torch.float64, device=self.parameters[0].device)

    @undisturbed
    def put_back(self) -> None:
        """θ again, bit for bit; and the statistics that the second pass does not count for."""
        self.rule.move.restore()
        self.rule.statistics.restore()

    def observe(self, *fields: Field[Any]) -> Observation:
        """What the fields need, at the parameters as they are."""
        for field in fields:
            self._check(field)
        if self.bound is None:
            seen = observe_closure(self.closure, self.parameters, self.groups.names)
            self.rule.told.measure(self.parameters)
            seen = seen if self.scale is None else replace(seen, gradient=vec.scale(seen.gradient, 1 / self.scale))
        else:
            asked = [(name_of(field), request) for field in fields for request in field.needs]
            seen = observed(self.bound, asked, name_of(fields[0]), self.rule.solver, self.shares, self.on_mesh)
        return over_mesh(seen) if self.on_mesh else seen

    def _own(self, seen: Observation) -> Observation:
        """With a gradient of its own where later passes overwrite this one's, which is still read."""
        revisits = self.rule.solver is not None and self.rule.solver.revisits
        return seen.owned() if revisits or (self.reads is not None and self.bound is None) else seen

    @torch.no_grad()
    def solve(self, seen: Observation) -> tuple[Perturbation, Tensor]:
        """(ε*, the loss at θ); ε* = 0 where the loss, the covector or what was made of it is not finite."""
        rule, memory, radius = self.rule, self.rule.memory, self.groups.radius
        unit = partial(rule.watch.unit, self.parameters)
        loan = Loan(rule.move.buffers, self._covector(memory["objective"]), self._lands, memory["solver"], unit, self.inner)
        c, memory["objective"] = self._ascent(seen, memory["objective"])
        if radius is not None:
            geometry, memory["metric"] = rule.metric.step(seen, memory["metric"])
        else:
            geometry, memory["metric"] = product(seen, self.groups.parts(rule.metric), memory["metric"], one_metric=True)
        if self.shares:
            geometry = shared_geometry(geometry, name_of(rule.metric), seen, group_of(self.bound))
        found = solve(geometry, c, 1.0 if radius is None else radius, rule.solver, loan)
        if (stretch := self.groups.stretch) is not None:
            found = replace(found, scale=found.scale * stretch, radius=found.radius * stretch)
        rule.watch.hear(found.beside)
        if found.memory:
            memory["solver"] = found.memory
        finite = found.finite & (seen.loss.abs() < math.inf).to(found.finite.device)
        if self.scale is not None:
            alike = finite if self.bound is None or processes() == 1 else mean([finite.float()], group_of(self.bound))[0] == 1
            rule.overflow.tell(self.scaler, alike)  # processes share the scale in what they reduce
        if rule.raise_nonfinite and not finite:
            raise FloatingPointError(
                f"the first pass is not finite: loss {seen.loss.item()}, dual norm {found.dual_norm.item()}"
            )
        self.kept = self._keep(seen, finite, geometry)
        return replace(found, finite=finite), seen.loss

    @torch.no_grad()
    def displace(self, found: Perturbation, loss: Tensor) -> Last:
        """θ ← θ + ε*; the numbers of the first pass."""
        self.landing = found.landing if found.landing is not None and found.finite else None
        if self.observed and self.rule.passes.reuses:
            self.rule.memory["passes"] = {"epsilon": found.epsilon}
        self.lend_memory()
        lengths = displace(self.rule.move, self.parameters, found)
        radius = torch.where(found.finite, found.radius, 0.0)
        last = Last(loss, found.dual_norm, radius, found.finite, torch.zeros_like(found.finite), found.report)
        self.rule.last = replace(last, **lengths)
        if lengths:
            self.rule.watch.hear_rounding(self.rule.last)
        return self.rule.last

    def second_pass(self) -> Tensor | None:
        """The gradient at θ + ε*, and the update from both gradients; the loss there, None where the solver made the pass."""
        loss = None
        if self.bound is None:
            loss = self.rule.zeroing.run_again(self.closure, self.parameters)
            harmless = partial(reads_direction, self.rule, self.kept, self.groups.names)
            self.rule.told.check(self.closure, self.parameters, self.rule.last, loss, self.scale is None, harmless)
        elif self.wrapper is not None:
            loss = run(self.closure, self.parameters)
        elif self.landing is not None:
            arrive(self.bound.joined, self.parameters, self.landing)
        else:
            loss = self.bound()
        return loss

    @torch.no_grad()
    def turn(self, kept: Any | None, scale: float | None = None) -> None:
        """The update, in ``.grad``; with a ball a process, the mean of theirs. scale: the gradients', by default the step's."""
        if kept is None:
            return
        known = self.scale if scale is None else scale
        self.rule.update.apply(kept, self.parameters, 1.0 if known is None else known)
        self._meet([p.grad for p in self.parameters if p.grad is not None])

    def _meet(self, v: Vectors) -> None:
        """v ← its mean over processes that have a ball each."""
        if self.bound is not None and self.rule.ball == "rank" and processes() > 1:
            vec.copy_(v, mean(v, group_of(self.bound)))

    def _keep(self, seen: Observation, finite: Tensor, ball: Norm | Divergence | None = None) -> Any | None:
        """What the update keeps of the pass at θ. ball: the geometry of the step's own metric, where it is there already."""
        rule, update = self.rule, self.rule.update
        if self.reads is None:
            return update.keep(seen.gradient, finite)
        own = self.reads == rule.metric and self.groups.radius is not None  # else ``ball`` is a product of the groups' balls
        if ball is None or not own:
            place = "metric" if own else "update"
            ball, rule.memory[place] = self.reads.step(seen, rule.memory[place])
            ball = shared_geometry(ball, name_of(self.reads), seen, group_of(self.bound)) if self.shares else ball
        return update.keep(seen.gradient, finite, ball)

    @torch.no_grad()
    def _unmoved(self, metric: Metric) -> tuple[Observation, Any]:
        """The pass at θ of a step without ε*, and what the update keeps of it."""
        self.rule.owners.sort(self.rule.memory, self.parameters, self.groups.names)
        seen = self._own(self.observe(metric))
        return seen, self._keep(seen, seen.loss.abs() < math.inf)

    def rest(self) -> Tensor:
        """The gradient at θ, ρ = 0, as the update turns it; the loss. One pass."""
        if self.reads is None:
            loss = run(self.closure, self.parameters)
        else:
            seen, kept = self._unmoved(self.reads)
            loss = seen.loss
            if self.bound is None:
                self.turn(kept)
            else:
                self._fill(seen.gradient, kept)
        self._resting(loss)
        return loss

    @torch.no_grad()
    def _fill(self, gradient: Vectors, kept: Any) -> None:
        """``.grad`` from a problem's gradient, of which a pass at θ leaves none there."""
        if self.rule.ball == "rank" and processes() > 1:
            gradient = mean(gradient, group_of(self.bound))
        turned = self.rule.update.at_rest(kept, gradient, self.parameters)
        for p, v in zip(self.parameters, turned if self.scale is None else vec.scale(turned, self.scale), strict=True):
            p.grad = v
        self._meet([p.grad for p in self.parameters if p.grad is not None])

    def _resting(self, loss: Tensor, finite: Tensor | None = None) -> Last:
        finite = torch.isfinite(loss) if finite is None else finite
        zero = torch.zeros((), dtype=torch.float64, device=loss.device)
        self.rule.last = Last(loss, zero * torch.nan, zero, finite, zero > 0, {})
        return self.rule.last

    def _check(self, field: Field[Any]) -> None:
        for request in field.needs:
            if self.inner is None:
                raise TypeError(f"{name_of(field)} needs {request.lacking}")
            request.check(self.inner.joined, name_of(field))

    def _lands(self) -> bool:
        return isinstance(self.bound, Bound) and self.wrapper is None and lands(self.bound, self.parameters)

    def _ascent(self, seen: Observation, state: State) -> tuple[Vectors, State]:
        """(the objective's covector, its next state), where what the base optimizer maximises is to be lowered."""
        return self.rule.objective.step(replace(seen, gradient=self.groups.worse(seen.gradient)), state)

    def _covector(self, state: State) -> Callable[[Vectors], Vectors]:
        """ε ↦ the objective's covector at θ + ε, with its memory from before this step; θ is restored on return."""

        def covector(epsilon: Vectors) -> Vectors:
            move, one = self.rule.move, torch.ones((), dtype=torch.float64, device=self.parameters[0].device)
            try:
                move.displace(self.parameters, Perturbation(epsilon, one, one, one, one > 0))
                return self._ascent(self.buffers.unwritten(partial(self.observe, self.rule.objective)), state)[0]
            finally:
                move.restore()

        return covector
