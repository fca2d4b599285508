"""What was seen at θ in one pass, and the fields that read it.

A kind of request is one file. Metrics, objectives, optimizer and measures call in; nothing here knows of any of them.
"""

from .closures import observe_closure
from .distribution import PredictiveDistribution
from .draws import LabelDraws, Sampled
from .factors import KroneckerFactors
from .field import Constant, Field, Metric, Objective, Remembering, State, as_metric
from .hessian import Hessian, HessianProducts
from .observation import Observation
from .observe import observe
from .request import Lead, Look, Needs, Request
from .rows import PerSampleGradients
from .squares import MeanSquares

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
    "observe",
    "observe_closure",
]
