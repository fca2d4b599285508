"""scikit-learn's handwritten digits: 1797 images of 8 × 8, shipped with the library."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from .config import Training


@dataclass(frozen=True)
class Split:
    """Images of shape [n, 1, 8, 8] and labels. labels: of the training images, noise included."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def digits(training: Training) -> Split:
    """The stratified split, shuffled; pixels standardised by the training images' mean and deviation."""
    x, y = load_digits(return_X_y=True)
    images, test_images, labels, test_labels = train_test_split(
        x.astype("float32"), y, train_size=training.train_size, stratify=y, random_state=training.split_seed
    )
    mean, deviation = images.mean(), images.std()

    def shaped(pixels) -> Tensor:
        return torch.from_numpy((pixels - mean) / deviation).reshape(-1, 1, 8, 8)

    noisy = flipped(torch.from_numpy(labels).long(), training.label_noise, training.split_seed)
    return Split(shaped(images), noisy, shaped(test_images), torch.from_numpy(test_labels).long())


def flipped(labels: Tensor, part: float, seed: int, classes: int = 10) -> Tensor:
    """The labels with ``part`` of them moved to another class, uniformly."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(labels), generator=generator)[: round(part * len(labels))]
    shift = torch.randint(1, classes, (len(chosen),), generator=generator)
    noisy = labels.clone()
    noisy[chosen] = (noisy[chosen] + shift) % classes
    return noisy


def batches(split: Split, training: Training, epochs: int, seed: int):
    """Lists of (images, labels), one an epoch: whole batches in an order that only the seed decides."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(split.labels), generator=generator)
        chosen = order[: training.steps * training.batch].split(training.batch)
        yield [(split.images[index], split.labels[index]) for index in chosen]
