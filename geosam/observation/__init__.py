"""What is observed at θ in one pass, the requests that ask for it (one file per kind), and the fields that read it.

Called by metrics, objectives, optim, measure and testing.
Never imports any of them, nor solvers.
"""

from .closures import observe_closure
from .distribution import PredictiveDistribution
from .draws import LabelDraws
from .factors import KroneckerFactors
from .field import Constant, Field, Metric, Objective, Remembering, State, as_metric, name_of
from .hessian import Hessian, HessianProducts
from .observation import Observation
from .observe import observe
from .request import Lead, Look, Needs, Request
from .rows import PerSampleGradients
from .sampled import Sampled
from .squares import MeanSquares
from .together import observe_together

__all__ = [
    "Constant",
    "Field",
    "Hessian",
    "HessianProducts",
    "KroneckerFactors",
    "LabelDraws",
    "Lead",
    "Look",
    "MeanSquares",
    "Metric",
    "Needs",
    "Objective",
    "Observation",
    "PerSampleGradients",
    "PredictiveDistribution",
    "Remembering",
    "Request",
    "Sampled",
    "State",
    "as_metric",
    "name_of",
    "observe",
    "observe_closure",
    "observe_together",
]
