"""Ablations: methods that differ in their geometry, trained from the same seeds, and a verdict fixed before the run.

Called by users and by studies. Imports the rooms below and ``records``; pandas, matplotlib, SciPy, joblib and Optuna when they
are used.
"""

from . import statistics
from .ablate import Ablation, ablate, read
from .data import Batches, Data, Tensors
from .method import Method, Sgd
from .results import Results
from .score import classified, wrong
from .setting import Run, Setting, plain_step
from .statistics import Rule, Verdict
from .training import Training
from .tuned import Choice, Log, Tuned

__all__ = [
    "Ablation",
    "Batches",
    "Choice",
    "Data",
    "Log",
    "Method",
    "Results",
    "Rule",
    "Run",
    "Setting",
    "Sgd",
    "Tensors",
    "Training",
    "Tuned",
    "Verdict",
    "ablate",
    "classified",
    "plain_step",
    "read",
    "statistics",
    "wrong",
]
