"""What a run would be told at its end, told before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import torch

from ..core import brief
from . import streams
from .setting import Run
from .training import Training


def check_score(run: Run) -> None:
    """Before anything is trained: that the score has what the rule judges. Raises: ValueError where it has not.

    What fails here fails in the run, and is told there.
    """
    found = None
    with streams.apart(torch.device(run.setting.device)), suppress(Exception):
        training = Training(run)
        found = None if training.data.test is None else training.scored(training.data.probes(1))
    if found is not None and not isinstance(found, Mapping):
        raise TypeError(f"score gives {{name: number}}, such as {{'accuracy': 0.9}}; got {brief(found)}")
    if found is not None and run.setting.rule.score not in found:
        raise ValueError(
            f"no {run.setting.rule.score!r} in the score, which has {', '.join(found)}: name what decides, such as "
            "rule=Rule(score='loss', larger=False), or give score=, a function (model, loss, batches) ↦ {name: number}"
        )
