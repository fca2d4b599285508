"""The direction of a vector of any size."""

import numpy as np


def unit(vector: np.ndarray) -> np.ndarray:
    """v/‖v‖, and 0 for v = 0: scaled first, so that no square overflows or vanishes."""
    scaled = vector / (abs(vector).max() or 1.0)
    return scaled / (np.linalg.norm(scaled) or 1.0)
