"""The model's predictive distribution around θ: KL, products with the true Fisher information, and their recording.

Observations call in. Nothing here knows of engines or metrics.
"""

from .distribution import Predictive
from .recording import Recorder

__all__ = ["Predictive", "Recorder"]
