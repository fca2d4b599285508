"""Random faults at random places of random rows of the table: ``python -m tests.optim.faults --faults 1000``."""

from __future__ import annotations

import argparse
import math
import random
import signal
import time
import warnings
from collections import Counter
from typing import Any

import torch

from tests.networks import same
from tests.optim.table import Fault, Row, Training, every

KINDS = ("exception", "signal", "nan", "inf", "none")


class Broken(Exception):
    """What a fault raises."""


def inject(kind: str, at: int, training: Training) -> None:
    """In forward pass number ``at``, counting those of engines and solvers."""

    def act(count: int) -> None:
        if count != at and not (count > at and kind in ("nan", "inf")):
            return
        if kind == "exception":
            raise Broken
        if kind in ("nan", "inf"):
            Fault.factor = math.nan if kind == "nan" else math.inf

    Fault.act, Fault.count = act, 0


def spoilt(training: Training, kind: str, draw: random.Random, passes: int, seconds: float) -> bool:
    """A step with one fault; whether it was one that has to leave everything as it was."""
    opt = training.opt
    if kind == "none":  # a batch without gradients, and so without a loss
        opt.step(lambda: None)
        return True
    if kind == "signal":
        return by_signal(training, draw.random() * seconds)
    inject(kind, draw.randint(1, passes), training)
    try:
        training.step()
    except (Broken, ValueError, FloatingPointError):
        return True
    finally:
        Fault.clear()
    return bool(opt.last.skipped)


def _no_later(*_: Any) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def by_signal(training: Training, seconds: float) -> bool:
    """A signal before the base optimizer's own update, of which torch leaves what is done."""
    hook = training.opt.base.register_step_pre_hook(_no_later)

    def late(*_: Any) -> None:
        raise Broken

    before = signal.signal(signal.SIGALRM, late)
    broken = True
    try:
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
        training.step()
        broken = False
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Broken:
        pass  # before the step was over, or right after it
    signal.signal(signal.SIGALRM, before)
    hook.remove()
    return broken


def fault(row: Row, training: Training, draw: random.Random, passes: int, seconds: float) -> str | None:
    """What is wrong after one fault, or None: parameters as they were, and a clean step that of an optimizer without it."""
    kind = draw.choice([k for k in KINDS if k != "none" or row.route == "closure"])
    state, before = training.state(), training.weights()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        broken = spoilt(training, kind, draw, passes, seconds)
    training.opt.restore()
    if not broken:  # taken for a refusal of the pass: the numbers of another way, used from then on, differ in their rounding
        training.problem = training.unknown()
    wrong = None
    if broken and not same(training.weights(), before):
        wrong = "weights"
    # what a pass that was over has remembered and drawn stays
    passed = row.route == "perturb" or row.settings == "Fisher, drawn" or kind in ("nan", "inf")
    if passed or not broken:
        training.load(state)
    training.step()
    after = training.weights()
    training.restarted(state).step()
    if not same(training.weights(), after):
        wrong = wrong or "the next step"
    return wrong and f"{row}, {kind}: {wrong}"


def run(count: int, each: int, seed: int) -> tuple[Counter[str], list[str]]:
    """So many faults, ``each`` of them on a row."""
    draw, table, said = random.Random(seed), [row for row in every() if row.base != "LBFGS"], list[str]()
    done = Counter[str]()
    while done["faults"] < count:
        row = draw.choice(table)
        Fault.clear()
        training = Training(row)
        training.step()
        Fault.count, start = 0, time.perf_counter()
        training.step()
        passes, seconds = Fault.count, time.perf_counter() - start
        for _ in range(each):
            done["faults"] += 1
            wrong = fault(row, training, draw, max(passes, 1), seconds)
            if wrong is not None:
                said.append(wrong)
        done["rows"] += 1
    return done, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--each", type=int, default=10, help="of them on a row")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    done, said = run(chosen.faults, chosen.each, chosen.seed)
    print(f"{done['faults']} faults on {done['rows']} rows; wrong: {len(said)}")
    for what in said[:20]:
        print("   ", what)


if __name__ == "__main__":
    main()
