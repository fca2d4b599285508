"""What a step costs on an accelerator, within a budget of seconds: moves, whole steps beside peers, Fishers, captured steps.

Without a CUDA device nothing runs, unless tiny networks are asked for (``--quick``): the same code on a CPU.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from .accelerated_fishers import fishers_of, product_of
from .accelerated_steps import moves_of, steps_of
from .fisher_cost import SGD
from .ledger import NotRun, Part
from .move import RHO
from .peers import versions
from .scenes import FISHERS, STEPS, TINY, TINY_VIT, TINY_WIDE, move_shapes

ALLOCATORS = ("pinned",)
ROUNDS = 31
"""Of a race, where the seconds last for them."""


def settings() -> dict[str, Any]:
    """What all parts have in common."""
    return {
        "precision": "bf16: forward under bfloat16 autocast; parameters and outputs float32",
        "tf32": {"matmul": torch.backends.cuda.matmul.allow_tf32, "cudnn": torch.backends.cudnn.allow_tf32},
        "base": {"class": "SGD", **SGD},
        "rho": RHO,
        "floors": "of a move: copying 7 floats a parameter in one tensor; of a step: two passes and one base step, by hand",
        **versions(),
    }


def parts(quick: bool) -> dict[str, Part]:
    """In the order of their worth. Raises: NotRun."""
    if not (quick or torch.cuda.is_available()):
        raise NotRun("no CUDA device here; --quick runs tiny networks on the CPU")
    rounds, device = 2 if quick else ROUNDS, torch.device("cuda" if torch.cuda.is_available() else "cpu")
    steps, fishers = (TINY, (TINY_WIDE, TINY_VIT)) if quick else (STEPS, FISHERS)
    return {
        **{f"step, {scene.name}": Part(weight, partial(steps_of, scene, rounds, device)) for scene, weight in steps.items()},
        **{
            f"perturb and restore, {name}": Part(0.8, partial(moves_of, shapes, rounds, device))
            for name, shapes in move_shapes(quick).items()
        },
        **{f"Fishers, {scene.name}": Part(3.0, partial(fishers_of, scene, rounds, device)) for scene in fishers},
        **{f"one product, {scene.name}": Part(0.5, partial(product_of, scene, rounds, device)) for scene in fishers},
    }
