"""geosam: the geometry of sharpness-aware minimisation, as an object."""

import importlib as _importlib
import sys as _sys

from . import ablation, engines, metrics, norms, objectives, observation, solvers
from .ablation import ablate
from .core import Divergence, InnerProduct, Loan, Norm, Perturbation, Relative, Solver
from .core import names as _names
from .measure import KL, Comparison, Length, Rise, Sharpness, ascend, calibrate, compare, sharpness
from .observation import Metric, Needs, Objective, Observation, observe
from .optim import SAM, Copy, Masters, Swap, passes, schedules, updates
from .problem import Problem, likelihoods
from .solvers import solve

# modules that live in a room and are public here: ``from geosam.updates import SurrogateGap``
_sys.modules |= {f"{__name__}.{m.__name__.rpartition('.')[2]}": m for m in (likelihoods, passes, schedules, updates)}

for _room in (ablation, engines, likelihoods, metrics, norms, objectives, observation, passes, schedules, solvers, updates):
    _names.show(_room)

__version__ = "0.1.0"

__all__ = [
    "KL",
    "SAM",
    "Comparison",
    "Copy",
    "Divergence",
    "InnerProduct",
    "Length",
    "Loan",
    "Masters",
    "Metric",
    "Needs",
    "Norm",
    "Objective",
    "Observation",
    "Perturbation",
    "Problem",
    "Relative",
    "Rise",
    "Sharpness",
    "Solver",
    "Swap",
    "ablate",
    "ablation",
    "ascend",
    "calibrate",
    "compare",
    "engines",
    "likelihoods",
    "metrics",
    "norms",
    "objectives",
    "observation",
    "observe",
    "passes",
    "schedules",
    "sharpness",
    "solve",
    "solvers",
    "updates",
]


def __getattr__(name: str) -> object:
    """``geosam.testing``, imported when asked for: it needs Hypothesis."""
    if name == "testing":
        return _importlib.import_module(".testing", __name__)
    raise _names.unknown(__name__, name)


def __dir__() -> list[str]:
    """What is public."""
    return [*__all__, "testing"]
