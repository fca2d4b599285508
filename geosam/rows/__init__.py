"""The per-sample Jacobian as an operator, and what captures it."""

from .abstract import Pulled, Rows
from .engine import Captured, Choice, Draw, Engine, Moments
from .materialised import Materialised
from .stacked import Stacked

__all__ = ["Captured", "Choice", "Draw", "Engine", "Materialised", "Moments", "Pulled", "Rows", "Stacked"]
