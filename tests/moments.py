"""Exceptions at random moments of a step, and what they leave behind: ``python -m tests.moments --moments 1000``.

A moment is a signal after a random time, or a random line or bytecode of any Python frame, geosam's, torch's or Python's own.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.autograd import forward_ad

import geosam
from geosam import metrics, norms, objectives, updates
from geosam.engines import BackPACK, Func
from geosam.metrics import Empirical, MonteCarlo

METRICS: dict[str, geosam.Metric | geosam.Norm] = {
    "Euclidean": metrics.Euclidean(),
    "ParameterScaled": metrics.ParameterScaled(),
    "FilterWise": metrics.FilterWise(),
    "LayerWise": metrics.LayerWise(),
    "GradientMagnitude": metrics.GradientMagnitude(),
    "Monge": metrics.Monge(),
    "DiagonalEmpiricalFisher": metrics.DiagonalEmpiricalFisher(),
    "DiagonalEmpiricalFisher, Func": metrics.DiagonalEmpiricalFisher(engine=Func()),
    "DiagonalEmpiricalFisher, BackPACK": metrics.DiagonalEmpiricalFisher(engine=BackPACK()),
    "EmpiricalFisher": metrics.EmpiricalFisher(),
    "EmpiricalFisher, Func": metrics.EmpiricalFisher(engine=Func()),
    "Fisher": metrics.Fisher(),
    "Fisher, conjugate gradients": metrics.Fisher(rows_limit=0),
    "Fisher, drawn": metrics.Fisher(sampling=MonteCarlo(1)),
    "DiagonalFisher": metrics.DiagonalFisher(),
    "KroneckerFisher": metrics.KroneckerFisher(0.1, rest=metrics.DiagonalFisher()),
    "KroneckerFisher, empirical": metrics.KroneckerFisher(0.1, sampling=Empirical(), rest=metrics.Euclidean()),
    "KLExact": metrics.KLExact(),
    "KLExact along GradientMagnitude": metrics.KLExact(along=metrics.GradientMagnitude()),
    "KLExact along DiagonalFisher": metrics.KLExact(along=metrics.DiagonalFisher()),
    "BlockDiagonal": metrics.BlockDiagonal(metrics.EmpiricalFisher()),
    "Averaged": metrics.Averaged(metrics.DiagonalEmpiricalFisher(), 0.9),
    "Sup": norms.Sup(),
    "Spectral": norms.Spectral(),
    "Blockwise": metrics.Blockwise({"0.weight": (metrics.Monge(), 1.0), "*": (metrics.EmpiricalFisher(), 2.0)}),
}
# what the optimizer is given beside the metric
PARTS: dict[str, dict[str, Any]] = {
    "GradientMagnitude, Eigen": {"objective": objectives.Eigen(every=1, iterations=1)},
    "Monge, NoiseWeighted": {"objective": objectives.NoiseWeighted()},
    "Euclidean, Preconditioned": {"objective": objectives.Preconditioned(metrics.DiagonalEmpiricalFisher())},
    "Euclidean, Residual": {"objective": objectives.Residual(), "batchnorm": "both", "same_mask": True},
    "Fisher, Natural": {"update": updates.Natural(), "max_norm": 1.0},
    "Euclidean, SurrogateGap": {"update": updates.SurrogateGap()},
    "EmpiricalFisher, Swap": {"move": geosam.Swap()},
}
NAMES = [*METRICS, *PARTS]


class Boom(Exception):
    """What a moment raises."""


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3))


def normalised() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))


class Scene:
    """A model with an optimizer that moves nothing, on one batch; and everything that a step leaves as it is."""

    def __init__(self, name: str, frozen: bool) -> None:
        torch.manual_seed(0)
        self.model = (normalised if frozen else plain)()
        metric, parts = METRICS[name.split(", ")[0] if name in PARTS else name], PARTS.get(name, {})
        self.opt = geosam.SAM(torch.optim.SGD(self.model.parameters(), lr=0.0), metric, rho=0.05, **parts)
        x, y = torch.randn(8, 5), torch.randint(3, (8,))
        self.writes = 2 if parts.get("batchnorm") == "both" else 1
        self.source = geosam.Problem(self.model, nn.CrossEntropyLoss(), frozen_statistics=frozen).on(x, y)

    def step(self) -> None:
        self.opt.step(self.source)

    def state(self) -> dict[str, Any]:
        """Of the model: objects by identity, tensors by value, modes, hooks, attributes; and torch's stacks."""
        parts = list(self.model.modules())
        own = [t for m in parts for t in m._parameters.values() if t is not None]
        buffers = [t for m in parts for t in m._buffers.values() if t is not None]
        return {
            "objects": [id(t) for t in (*own, *buffers)],
            "parameters": [(t.tolist(), t.requires_grad) for t in own],
            "buffers": [t.tolist() for t in buffers],
            "modes": [(m.training, sorted(vars(m)), len(m._forward_hooks), len(m._forward_pre_hooks)) for m in parts],
            "torch": stacks(),
        }

    def passes(self) -> int:
        """Forward passes in training mode, as the normalisation counts them."""
        return sum(int(b) for name, b in self.model.named_buffers() if name.endswith("num_batches_tracked"))


def stacks() -> list[Any]:
    """Torch's own state: each entry has one value outside every context."""
    c: Any = torch._C
    level: Any = forward_ad._current_level  # type: ignore[attr-defined]
    try:
        with forward_ad.dual_level():
            dual = True
    except RuntimeError:
        dual = False
    depth = c.autocast_increment_nesting()
    c.autocast_decrement_nesting()
    batched = c._vmapmode_increment_nesting()
    c._vmapmode_decrement_nesting()
    kernels = [getattr(c, f"_get_{name}_sdp_enabled")() for name in ("flash", "mem_efficient", "math", "cudnn")]
    return [
        torch.is_grad_enabled(),
        (c._functorch.get_dynamic_layer_stack_depth(), batched),
        (level, dual, c._is_fwd_grad_enabled()),
        (c._len_torch_function_stack(), c._len_torch_dispatch_stack(), c._is_torch_function_enabled()),
        c._autograd._top_saved_tensors_default_hooks(True),
        c._autograd._saved_tensors_hooks_get_disabled_error_message(),
        (depth, torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()),
        (kernels, c._get_mkldnn_enabled(), c._get_cudnn_enabled(), c._get_cudnn_deterministic()),
        (nn.Module.__call__.__qualname__, nn.Module.__getattr__.__qualname__),
        id(warnings.filters),
    ]


def by_signal(run: Callable[[], None], seconds: float) -> None:
    def late(*_: object) -> None:
        raise Boom

    before = signal.signal(signal.SIGALRM, late)
    try:
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
        run()
    finally:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Boom:
            signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def by_trace(run: Callable[[], None], at: int, bytecodes: int = 0) -> int:
    """Raises at line number ``at`` (0: never), or so many bytecodes later; how many lines there were.

    Trace functions may raise where no signal can. Bytecodes are counted from that line on: tracing all takes ten times as long.
    """
    seen, later = 0, bytecodes

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal seen, later
        if event == "line":
            seen += 1
            if seen == at and not bytecodes:
                raise Boom
        elif event == "opcode":
            later -= 1
            if later == 0:
                raise Boom
        frame.f_trace_opcodes = 0 < at <= seen
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return seen


class Moments:
    """Random moments of one metric on one kind of problem. Every eighth is followed by a whole step; so is the last."""

    def __init__(self, name: str, frozen: bool, seed: int = 0) -> None:
        self.name, self.frozen, self.random = name, frozen, random.Random(seed)
        self.hit = self.broken = self.lost = 0
        self.said: list[str] = []
        self.last: list[str] = []
        self._begin()

    def _begin(self) -> None:
        self.scene = Scene(self.name, self.frozen)
        self.scene.step()
        start = time.perf_counter()
        self.scene.step()
        self.seconds = time.perf_counter() - start

    def one(self, kind: str, cold: bool = False) -> None:
        """One moment. cold: of a problem's first step, which finds out what does not depend on θ."""
        scene = Scene(self.name, self.frozen) if cold else self.scene
        most = 0 if kind == "signal" else self._count(cold)
        before, passes = scene.state(), scene.passes()
        try:
            if kind == "signal":
                by_signal(scene.step, self.random.random() * self.seconds * (5 if cold else 1.2))
                return  # it was over before the signal
            at, later = self.random.randint(1, most), self.random.randint(1, 12) if kind == "bytecode" else 0
            if by_trace(scene.step, at, later) <= at + later:
                return  # so was a step with fewer lines than the one that was counted
            self.lost += 1
            where = []
        except Exception as error:  # another one where a fallback took the first for its own matter
            self.lost += not isinstance(error, Boom)
            where = traceback.extract_tb(error.__traceback__)[-3:-1]
        self.hit += 1
        after = scene.state()
        if scene.passes() == passes + scene.writes:  # the step had been finished
            before["buffers"] = after["buffers"]
        changed = [key for key in before if before[key] != after[key]]
        if changed:
            pairs = [(a, b) for key in changed for a, b in zip(before[key], after[key], strict=True) if a != b]
            self._broken(f"{kind}, {'cold' if cold else 'warm'}: {changed} {pairs[0]} at {where}")
            return
        self.last = [*self.last[-7:], f"{kind} at {where}"]
        if cold or self.hit % 8 == 0:
            self.whole_step(scene)

    def whole_step(self, scene: Scene | None = None) -> None:
        """After moments a step goes through."""
        try:
            (scene or self.scene).step()
        except Exception as error:
            self._broken(f"the next step: {type(error).__name__}: {error}; after {self.last}")

    def _broken(self, what: str) -> None:
        self.broken += 1
        self.said.append(what)
        self._begin()

    def _count(self, cold: bool) -> int:
        counts: dict[bool, int] = self.__dict__.setdefault("counts", {})
        if cold not in counts:
            counts[cold] = by_trace((Scene(self.name, self.frozen) if cold else self.scene).step, 0)
        return counts[cold]


KINDS = ("signal", "signal", "line", "bytecode")
COLD = 23  # one in so many is of a first step, which takes ten times as long; prime, so that it meets every kind


def run(name: str, frozen: bool, moments: int, seed: int = 0) -> Moments | str:
    """Moments until so many have hit; the reason where the metric refuses the problem."""
    try:
        found = Moments(name, frozen, seed)
    except (ValueError, TypeError) as error:
        return str(error)
    tries = 0
    while found.hit < moments and tries < 4 * moments:
        found.one(KINDS[tries % len(KINDS)], cold=tries % COLD == COLD - 1)
        tries += 1
    found.whole_step()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=1000, help="of each metric, half of them with frozen statistics")
    parser.add_argument("--metric", choices=NAMES)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for name in [chosen.metric] if chosen.metric else NAMES:
        for frozen in (False, True):
            found = run(name, frozen, chosen.moments // 2, chosen.seed)
            kind = "frozen" if frozen else "plain"
            if isinstance(found, str):
                print(f"{name}, {kind}: refused: {found}", flush=True)
                continue
            print(f"{name}, {kind}: hit {found.hit}, broken {found.broken}, not passed on {found.lost}", flush=True)
            for what in found.said[:3]:
                print("   ", what[:900], flush=True)


if __name__ == "__main__":
    main()
