"""scikit-learn's handwritten digits: 1797 images of 8 × 8, shipped with the library."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from .noise import flipped
from .split import Split


@cache
def handwritten() -> tuple[np.ndarray, np.ndarray]:
    """Pixels [1797, 64] from 0 to 16, and labels: as they are shipped, not to be written to."""
    return load_digits(return_X_y=True)


def digits(train_size: int, label_noise: float = 0.0, seed: int = 0) -> Split:
    """Images of shape [n, 1, 8, 8], float32: a stratified split, shuffled. label_noise: the part of the training labels moved.

    Pixels are standardised by the training images' mean and deviation. seed: of split and noise.
    """
    pixels, labels = handwritten()
    images, test_images, y, test_y = train_test_split(
        pixels.astype("float32"), labels, train_size=train_size, stratify=labels, random_state=seed
    )
    mean, deviation = images.mean(), images.std()

    def shaped(pixels: np.ndarray) -> Tensor:
        return torch.from_numpy((pixels - mean) / deviation).reshape(-1, 1, 8, 8)

    noisy = flipped(torch.from_numpy(y).long(), label_noise, seed)
    return Split(shaped(images), noisy, shaped(test_images), torch.from_numpy(test_y).long())
