"""The model's predictive distribution around θ: KL, products with the true Fisher information, and their recording.

Called by observation and metrics.
Never imports either, nor engines or norms.
"""

from .distribution import Predictive
from .recording import Recorder

__all__ = ["Predictive", "Recorder"]
