"""The optimizer: ascend to θ + ε*, take the gradient there, come back, let the base optimizer step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from . import _vectors as vec
from ._abstract import Divergence, Landing, Metric, Norm, Objective, Perturbation, Solver, check_instance
from ._landing import arrive, lands
from ._move import Copy, Move
from ._vectors import Vectors
from .closure import closure_evidence, run
from .evidence import Evidence, check_needs
from .last import Last, Perturbed
from .metrics import Euclidean
from .metrics.blockwise import product
from .norms import Identity
from .objectives import Gradient
from .problem import Bound
from .rows import Pulled
from .solvers import DualNorm, MultiStep, Radial, check_radius, solve
from .updates import Sharp, Update

Source = Callable[[], Any] | Bound
_MEMORY = ("objective", "metric", "solver")


_NOT_THROUGH_SCALER = (
    "step() needs a closure or problem.on(x, y), and is not to be called through scaler.step(opt): the scaler cannot see both "
    "passes. Call opt.step(closure, scaler=scaler), then scaler.update()."
)


class SAM(torch.optim.Optimizer):
    """Sharpness-aware minimisation in any geometry, around any base optimizer.

    A step: evidence at θ → c = objective, geometry = metric.at(θ) → ε* = argmax ⟨c, ε⟩ over ‖ε‖_θ ≤ rho → gradient at
    θ + ε* → θ restored bit for bit → ``base.step()`` with that gradient.

    base: an optimizer that holds the parameters; built from ``named_parameters()`` it lends their names to the metric.
    metric, objective, rho, solver: the geometry. Groups of ``base`` may carry their own ``rho``: these become weights of one
    joint ball, ‖ε‖² = Σ_b (‖ε_b‖_b / rho_b)² ≤ 1, with the metric taken group by group. rho = 0 is the base optimizer's step.
    move: how θ + ε gets into the parameters, :class:`geosam.Copy` or :class:`geosam.Swap`.
    update: what the base optimizer steps with, by default the gradient at θ + ε*; :class:`geosam.updates.SurrogateGap` is GSAM.
    raise_nonfinite: raise FloatingPointError (θ unharmed, one host read a step) where a pass is not finite (with a scaler,
    which expects overflow, only in the first). By default such a
    first pass gives ε* = 0, and a second pass that is not finite updates nothing (on an accelerator: with zero gradients).

    ``.grad`` after a step is the second pass's. param_groups and state are the base optimizer's own, so schedulers work.
    Source: Foret et al. 2021; Kim et al. 2022, algorithm 1.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        metric: Metric | None = None,
        rho: float = 0.05,
        objective: Objective | None = None,
        *,
        solver: Solver | None = None,
        move: Move | None = None,
        update: Update | None = None,
        raise_nonfinite: bool = False,
    ) -> None:
        if not isinstance(base, torch.optim.Optimizer) or isinstance(base, SAM):
            raise TypeError(f"base must be a torch optimizer that holds the parameters, e.g. torch.optim.SGD; got {base!r}")
        self.base = base
        self.metric = Euclidean() if metric is None else metric
        self.objective = Gradient() if objective is None else objective
        self._move = Copy() if move is None else move
        self.update = Sharp() if update is None else update
        self.solver, self.raise_nonfinite = solver, raise_nonfinite
        check_instance("metric", self.metric, Metric)
        check_instance("objective", self.objective, Objective)
        check_instance("move", self._move, Move)
        check_instance("update", self.update, Update)
        check_instance("solver", solver or DualNorm(), Solver)
        closure = inspect.signature(type(base).step).parameters.get("closure")
        self._searches = closure is not None and closure.default is inspect.Parameter.empty  # LBFGS calls it by itself
        self.last: Last | None = None
        self._memory: dict[str, Mapping[str, Any]] = {name: {} for name in _MEMORY}
        # as long as a step lasts: of the first pass's gradient, whose second pass this is, and the solver's own at θ + ε*
        self._kept: Vectors | None = None
        self._bound: Bound | None = None
        self._landing: Landing | None = None
        super().__init__(base.param_groups, {**base.defaults, "rho": check_radius(rho)})
        for group in self.param_groups:
            check_radius(group["rho"])
        if any(p.device.type == "mps" for p in self._parameters()):
            raise NotImplementedError("geosam's scalars are float64, which MPS does not have; use a CPU or a CUDA device")
        if not self._parameters():
            raise ValueError("the base optimizer holds no parameter that requires a gradient: there is nothing to perturb")

    # The groups and the state are the base optimizer's, also after it has loaded a checkpoint and replaced them.
    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The base optimizer's groups, each with its ``rho``."""
        return self.base.param_groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        """Ignored: torch's constructor assigns an empty list."""

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The base optimizer's state."""
        return self.base.state

    @state.setter
    def state(self, state: Any) -> None:
        """Ignored: torch's constructor assigns an empty state."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the base optimizer; ``rho`` is the constructor's unless the group has its own."""
        if not any(group is param_group for group in self.base.param_groups):
            self.base.add_param_group(param_group)
        param_group.setdefault("rho", self.defaults["rho"])

    @torch.no_grad()
    def step(self, closure: Source | None = None, scaler: Any = None) -> Tensor:  # type: ignore[override]
        """One update; the loss at θ, detached.

        closure: ``problem.on(x, y)``, or a closure that zeroes gradients, runs forward and backward and returns the loss; it
        is called twice. scaler: the GradScaler with which a closure scales its own loss; call ``scaler.update()`` afterwards.
        Whatever is raised in between, the parameters are whole.
        """
        source = closure
        if source is None or hasattr(self, "grad_scale"):
            vars(self).pop("grad_scale", None)
            raise TypeError(_NOT_THROUGH_SCALER)
        if scaler is not None and isinstance(source, Bound):
            raise TypeError("a scaler goes with a closure that scales its own loss; a bound problem does not scale")
        if scaler is not None and self._searches:
            raise TypeError(
                f"a GradScaler cannot drive {type(self.base).__name__}, which steps by itself; use bfloat16 or float32"
            )
        if all(group["rho"] == 0 for group in self.param_groups):
            return self._plain_step(source, scaler)
        if self._searches:
            return self._line_search(source)
        loss = self._sharp_pass(source, scaler)
        self._update(scaler)
        return loss

    @contextmanager
    def perturbed(self, source: Source, scaler: Any = None) -> Iterator[Perturbed]:
        """Run the first pass; inside, the parameters sit at θ + ε*; outside they are restored bit for bit, always.

        Blocks do not nest: a second one, or a step, begins by restoring θ and so ends the first.
        """
        self._move.restore()  # what an interrupt between two steps may have left behind
        parameters = self._parameters()
        inside = True

        def realised() -> list[Tensor]:
            if not inside:
                raise RuntimeError("epsilon lives inside the perturbed() block; copy it there to keep it")
            return self._move.realised(parameters)

        try:
            self._move.prepare(parameters)
            self.last = self._ascend(source, parameters, scaler)
            yield Perturbed(self.last, realised)
        finally:
            inside, self._kept, self._bound, self._landing = False, None, None, None
            try:
                self._move.restore()
            finally:
                self._move.restore()  # for an interrupt that fell on the first line of the first

    def _ascend(self, source: Source, parameters: list[Tensor], scaler: Any) -> Last:
        # What the first pass made is released on return: the second pass needs the memory.
        evidence, solver = self._collect(source, parameters, scaler), self.solver
        with torch.no_grad():
            if isinstance(solver, MultiStep) and solver.steps > 1:
                # its passes write where this one's gradient lies, and metrics still read it
                evidence = _own(evidence)
                solver = solver.along(self._covector_around(source, parameters, scaler))
            found = self._solve(evidence, solver)
            finite = found.finite & torch.isfinite(evidence.loss).to(found.finite.device)
            found = replace(found, finite=finite, scale=torch.where(finite, found.scale, 0.0))
            if self.raise_nonfinite and not finite:
                raise FloatingPointError(
                    f"the first pass is not finite: loss {evidence.loss.item()}, dual norm {found.dual_norm.item()}"
                )
            loss = evidence.loss
            self._kept = self.update.keep(evidence.gradient, finite)
            self._landing = found.landing if finite else None
            del evidence
            self._move.displace(parameters, found)
        radius = torch.where(finite, found.radius, 0.0)
        return Last(loss, found.dual_norm, radius, finite, torch.zeros_like(finite), found.report)

    def _covector_around(self, source: Source, parameters: list[Tensor], scaler: Any) -> Callable[[Vectors], Vectors]:
        """ε ↦ the objective's covector at θ + ε, given its memory of before this step; θ is back when it returns."""
        state, one = self._memory["objective"], torch.ones((), dtype=torch.float64, device=parameters[0].device)

        def covector(epsilon: Vectors) -> Vectors:
            try:
                self._move.displace(parameters, Perturbation(epsilon, one, one, one, one > 0))
                return self.objective.step(self._collect(source, parameters, scaler, again=True), state)[0]
            finally:
                self._move.restore()

        return covector

    def _solve(self, evidence: Evidence, solver: Solver | None) -> Perturbation:
        c, self._memory["objective"] = self.objective.step(evidence, self._memory["objective"])
        radii = [check_radius(group["rho"]) for group in self.param_groups]
        if len(set(radii)) == 1:
            norm, self._memory["metric"] = self.metric.step(evidence, self._memory["metric"])
            return self._solved(norm, c, radii[0], solver)
        blocks, start = [], 0
        for group, rho in zip(self.param_groups, radii, strict=True):
            count = sum(p.requires_grad for p in group["params"])
            # a pinned group needs no geometry of its own
            blocks.append((list(range(start, start + count)), self.metric if rho else Identity(), rho))
            start += count
        norm, self._memory["metric"] = product(evidence, blocks, self._memory["metric"])
        return self._solved(norm, c, 1.0, solver)

    def _solved(self, geometry: Norm | Divergence, c: Vectors, rho: float, solver: Solver | None) -> Perturbation:
        if solver is None and isinstance(geometry, Norm):
            solver = DualNorm(scratch=self._move.buffers)
        if isinstance(geometry, Divergence) and (solver is None or isinstance(solver, Radial)):
            land = self._bound is not None and lands(self._bound, self._parameters())
            solver = replace(solver or Radial(), land=land, **self._memory["solver"])
            found = solve(geometry, c, rho, solver)
            if found.report.get("multiple"):
                self._memory["solver"] = {"start": found.report["multiple"]}
            return found
        return solve(geometry, c, rho, solver)

    def _collect(self, source: Source, parameters: list[Tensor], scaler: Any, again: bool = False) -> Evidence:
        needs, who = self.objective.needs if again else self.metric.needs | self.objective.needs, type(self.metric).__name__
        if isinstance(source, Bound):
            return source.wrt(parameters).collect(needs, who, train=True)
        check_needs(needs, who)
        evidence = closure_evidence(source, parameters, self._names())
        if scaler is not None and scaler.is_enabled():
            evidence = replace(evidence, gradient=vec.scale(evidence.gradient, 1 / scaler.get_scale()))
        return evidence

    def _sharp_pass(self, source: Source, scaler: Any) -> Tensor:
        self._bound = source if isinstance(source, Bound) else None
        with self.perturbed(source, scaler) as p:
            if self._landing is not None and self._bound is not None:
                arrive(self._bound, self._parameters(), self._landing)
            else:
                with torch.enable_grad():
                    source()
            if self._kept is not None:
                scaled = scaler is not None and scaler.is_enabled()
                self.update.apply(self._kept, self._parameters(), scaler.get_scale() if scaled else 1.0)
        return p.loss.detach()

    def _line_search(self, source: Source) -> Tensor:
        """For base optimizers that call a closure themselves (LBFGS): every call is one sharpness-aware gradient."""
        losses: list[Tensor] = []

        def closure() -> Any:
            losses.append(self._sharp_pass(source, None))
            self._withhold(self._gradients())
            return losses[-1]

        self.base.step(closure)
        return losses[0]

    def _plain_step(self, source: Source, scaler: Any) -> Tensor:
        if self._searches:
            return torch.as_tensor(self.base.step(source)).detach()  # type: ignore[arg-type]
        loss = run(source, self._parameters())
        zero = torch.zeros((), dtype=torch.float64, device=loss.device)
        self.last = Last(loss, zero * torch.nan, zero, torch.isfinite(loss), torch.zeros_like(zero, dtype=torch.bool), {})
        self._update(scaler)
        return loss

    def _update(self, scaler: Any) -> None:
        gradients = self._gradients()
        if scaler is not None:
            assert self.last is not None
            self.last = replace(self.last, skipped=~vec.finite(gradients))
            scaler.step(self.base)  # skips by itself where the scaled gradients overflowed, which is no error
            return
        skipped = self._withhold(gradients)
        if not (vec.reads_are_free(gradients) and skipped):
            self.base.step()

    def _withhold(self, gradients: list[Tensor]) -> Tensor:
        """Zero gradients that are not finite, by a selection on the device; whether that was so."""
        finite = vec.finite(gradients) if gradients else torch.tensor(True)
        assert self.last is not None
        self.last = replace(self.last, skipped=~finite)
        if self.raise_nonfinite and not finite:
            raise FloatingPointError("the second pass's gradient is not finite; the parameters are those before the step")
        if not (vec.reads_are_free(gradients) and finite):
            for g in gradients:
                g.masked_fill_(self.last.skipped.to(g.device), 0)
        return self.last.skipped

    def _gradients(self) -> list[Tensor]:
        gradients = [p.grad for p in self._parameters() if p.grad is not None]
        return [g._values() if g.is_sparse else g for g in gradients]

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"] if p.requires_grad]

    def _names(self) -> list[str] | None:
        names: list[str] = []
        for group in self.param_groups:
            if "param_names" not in group:
                return None
            names += [n for n, p in zip(group["param_names"], group["params"], strict=True) if p.requires_grad]
        return names

    def __getstate__(self) -> dict[str, Any]:
        """Everything, for copies: torch's own forgets the base optimizer. ``step`` may be a scheduler's wrapper."""
        return {name: value for name, value in vars(self).items() if name != "step"}

    def state_dict(self) -> dict[str, Any]:
        """The base optimizer's state_dict, with the objective's and the metric's state under "geosam"."""
        return {**self.base.state_dict(), "geosam": {name: dict(state) for name, state in self._memory.items()}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load all three. A checkpoint of the plain base optimizer is accepted: then objective and metric start afresh."""
        memory = state_dict.get("geosam", {})
        self.base.load_state_dict({k: v for k, v in state_dict.items() if k != "geosam"})
        for group in self.param_groups:
            group.setdefault("rho", self.defaults["rho"])
        device = self._parameters()[0].device

        def own(value: Any) -> Any:
            return value.to(device, copy=True) if isinstance(value, Tensor) else value

        self._memory = {name: tree_map(own, dict(memory.get(name, {}))) for name in _MEMORY}


def _own(evidence: Evidence) -> Evidence:
    """With a gradient that no later pass overwrites."""
    lazy = isinstance(evidence.gradient, Pulled)
    return evidence if lazy else replace(evidence, gradient=[g.clone() for g in evidence.gradient])


# GradScaler hands its scale, as attributes, to optimizers that say so: that is how step() knows it was called from there.
SAM._step_supports_amp_scaling = True  # type: ignore[attr-defined]
