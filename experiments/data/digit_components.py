"""Principal components of scikit-learn's digits, fitted to images that are put aside."""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from .digits import handwritten
from .split import Split


def digit_components(train_size: int, aside: int, components: int, seed: int = 0) -> Split:
    """Inputs of shape [n, components], float64, of variance 1 on the images put aside.

    The map is chosen on those ``aside``: what the model sees does not depend on the training set. seed: of the division.
    """
    images, labels = handwritten()
    images, apart, labels, _ = train_test_split(images, labels, test_size=aside, stratify=labels, random_state=seed)
    x, test_x, y, test_y = train_test_split(images, labels, train_size=train_size, stratify=labels, random_state=seed)
    centre = apart.mean(0)
    _, scales, axes = np.linalg.svd(apart - centre, full_matrices=False)
    project = axes[:components].T / scales[:components] * math.sqrt(len(apart))
    return Split(*(torch.from_numpy(part) for part in ((x - centre) @ project, y, (test_x - centre) @ project, test_y)))
