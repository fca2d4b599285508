"""One step: observe, solve, displace, second pass, restore, update."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..core import Landing, Perturbation
from ..core.undo import undisturbed
from ..observation import Field, Observation
from ..problem.randomness import Replay
from .ascent import Ascent
from .descent import Descent
from .groups import Groups
from .last import Last, Perturbed, unknown, unmoved
from .masks import random_numbers
from .rounding import displace
from .routes import route
from .rule import Rule, Source
from .safety import Safety
from .turn import Turn
from .unseen import last_epsilon, momentum


class Step:
    """What lasts as long as one step, and its acts in their order.

    kept: what the update keeps of pass 1. landing: a forward pass of the solver that pass 2 can use. observed: whether a pass
    at θ was made. scaler: a GradScaler; a closure scales its own loss with it, a problem's is scaled here.
    """

    def __init__(self, rule: Rule, source: Source, groups: Groups, scaler: Any = None) -> None:
        self.rule, self.groups, self.scaler, self.parameters = rule, groups, scaler, groups.parameters
        self.route = route(source, rule, groups, scaler)
        self.ascent, self.turn = Ascent(rule, groups, self.route), Turn(rule, groups, self.route)
        self.descent, self.safety = Descent(rule, groups, scaler), Safety(rule, groups, self.route.buffers)
        self.kind = rule.passes.kind(rule.steps)
        self.kept: Any | None = None
        self.landing: Landing | None = None
        self.replay: Replay | None = None
        self.observed = False

    def run(self) -> Tensor:
        """The whole step; the loss at θ."""

        def acts() -> Tensor:
            loss, _ = self.gradient()
            self.descent.step()
            return loss

        return self.safety.whole(acts)

    def gradient(self) -> tuple[Tensor, Tensor]:
        """All passes, which leave in ``.grad`` what the base optimizer steps with; (the loss at θ, that of the last pass)."""
        return self.rest() if self.is_plain else self.sharpen()

    def sharpen(self) -> tuple[Tensor, Tensor]:
        """Both passes and the update; the losses at θ, or where no pass was made there at θ + ε*, and at θ + ε*."""
        # observe at θ, solve for ε*, displace; on leaving, restore
        with self.safety.displaced(self.first_pass) as p, self.replay or nullcontext():
            loss, kept = self.second_pass().detach(), self.kept
            self.kept = self.landing = None
        self.turn.apply(kept)
        if self.observed:
            return p.loss.detach(), loss
        assert self.rule.last is not None
        self.rule.last = replace(self.rule.last, loss=loss)
        return loss, loss

    @undisturbed
    def first_pass(self) -> Last:
        """Observe at θ, solve for ε*, displace; nothing of it in a plain step."""
        self.route.sharing.begin()
        return self.stay() if self.is_plain else self.rise()

    def rise(self) -> Last:
        """The first three acts."""
        rule, fields = self.rule, (self.rule.metric, self.rule.objective, *self.turn.fields)
        self.safety.remember()
        rule.move.prepare(self.parameters)
        if (found := self.unobserved()) is not None:
            return self.displace(found, unknown(self.parameters))
        if rule.same_mask:
            self.replay = random_numbers(self.route.inner, self.parameters, *fields)
        # nested calls: no name here holds what the first pass made, for the second one needs the memory
        return self.displace(*self.solve(self.begin(*fields)))

    def begin(self, *fields: Field[Any]) -> Observation:
        """What the fields need, at θ; what the model carries is then as before, for the passes to come."""
        seen = self.observe(*fields)
        self.route.buffers.between()
        return seen

    def observe(self, *fields: Field[Any]) -> Observation:
        """What the fields need, at θ; a gradient of its own where later passes overwrite this one's, which is still read."""
        self.observed = True
        seen = self.route.observe(*fields)
        revisits = self.rule.solver is not None and self.rule.solver.revisits
        return seen.owned() if revisits or (self.turn.fields and self.route.problem is None) else seen

    @torch.no_grad()
    def solve(self, seen: Observation) -> tuple[Perturbation, Tensor]:
        """(ε*, the loss at θ); ε* = 0 where the loss, the covector or what was made of it is not finite."""
        found, geometry = self.ascent.solve(seen)
        sharing = self.route.sharing
        finite = found.finite & sharing.is_number(seen.loss).to(found.finite.device)
        if self.route.scale is not None:
            self.rule.overflow.report(self.scaler, sharing.agreed(finite))  # processes share the scale
        if self.rule.raise_nonfinite and not sharing.agreed(finite):
            raise FloatingPointError(
                f"the first pass is not finite: loss {seen.loss.item()}, dual norm {found.dual_norm.item()}"
            )
        self.kept = self.turn.keep(seen, finite, geometry)
        return replace(found, finite=finite), seen.loss

    @torch.no_grad()
    def displace(self, found: Perturbation, loss: Tensor) -> Last:
        """θ ← θ + ε*; the numbers of the first pass."""
        self.landing = found.landing if found.landing is not None and found.finite else None
        if self.observed and self.rule.passes.reuses:
            self.rule.memory["passes"] = {"epsilon": found.epsilon}
        self.descent.lend_memory()
        lengths = displace(self.rule.move, self.parameters, found)
        radius = torch.where(found.finite, found.radius, 0.0)
        last = Last(loss, found.dual_norm, radius, found.finite, torch.zeros_like(found.finite), found.report)
        self.rule.last = replace(last, **lengths)
        if lengths:
            self.rule.watch.check_rounding(self.rule.last)
        return self.rule.last

    def second_pass(self) -> Tensor:
        """The gradient at θ + ε*; the loss there."""
        return self.route.again(self.kept, self.landing)

    @property
    def is_plain(self) -> bool:
        """Whether the step is the base optimizer's own."""
        return self.groups.at_rest or self.kind == "plain"

    def rest(self) -> tuple[Tensor, Tensor]:
        """The gradient at θ, ρ = 0, as the update turns it; the loss, twice. One pass."""
        if self.turn.fields:
            self.route.only_pass = True
            seen = self.look()
            self.turn.settle(self.kept, seen.gradient)
            return seen.loss, seen.loss
        loss = self.route.once()
        self.rule.last = unmoved(loss)
        return loss, loss

    def stay(self) -> Last:
        """The first pass of a plain step: none, unless the update reads a metric at θ."""
        if self.turn.fields:
            self.look()
            self.route.buffers.between()
        else:
            self.rule.last = unmoved(unknown(self.parameters), known=False)
        assert self.rule.last is not None
        return self.rule.last

    @torch.no_grad()
    def look(self) -> Observation:
        """The pass at θ of a plain step, of which the update keeps what it needs."""
        self.safety.remember()
        seen = self.observe(*self.turn.fields)
        self.kept = self.turn.keep(seen, self.route.sharing.is_number(seen.loss))
        self.rule.last = unmoved(seen.loss)
        return seen

    def unobserved(self) -> Perturbation | None:
        """ε* of a step that makes no pass at θ; None where it is made. Raises: TypeError for an update that needs it."""
        if self.kind == "both":
            return None
        known = last_epsilon(self.rule, self.parameters) if self.kind == "again" else momentum(self.rule, self.groups)
        if known is not None and self.turn.fields:
            raise TypeError(f"{self.rule.update} reads a metric at θ, and {self.rule.passes} makes no pass there in this step")
        return self.solve(known)[0] if isinstance(known, Observation) else known

    @contextmanager
    def alone(self) -> Iterator[Perturbed]:
        """θ + ε* for a second pass by hand: no gradient of the first is left for it to add to."""
        with self.safety.displaced(self.first_alone) as p:
            for parameter in self.groups.everyone:  # frozen ones keep theirs of before, which the base optimizer would take
                parameter.grad = None
            yield p

    def first_alone(self) -> Last:
        """The first pass of a step whose second one a trainer makes: an exception leaves the buffers as they were."""
        last = self.safety.whole(self.first_pass)
        if self.replay is not None:
            self.replay.rewind()
        return last
