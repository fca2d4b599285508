"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from .digits import handwritten
from .mapped import mapped
from .pictures import pictures
from .shakespeare import shakespeare
from .split import Split
from .task import Enlarged, Standardise, Task

DIGITS_TEST = 600


def digits_task() -> Task:
    """scikit-learn's digits, shipped with it: [n, 1, 8, 8] with pixels from 0 to 16, 1197 to train on and 600 to test."""
    pixels, labels = handwritten()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x, y = torch.from_numpy(pixels).float().view(-1, 1, 8, 8)[order] * (255 / 16), torch.from_numpy(labels).long()[order]
    split = Split(x[DIGITS_TEST:], y[DIGITS_TEST:], x[:DIGITS_TEST], y[:DIGITS_TEST])
    return Task(split, 10, Standardise((0.305,), (0.376,)))


def _pictures(name: str, dataset: str, classes: int, standardise: Standardise) -> Task:
    return Task(pictures(name, dataset), classes, standardise)


def _large(name: str, classes: int) -> Task:
    return Task(mapped(name), classes, IMAGENET)


def shakespeare_task() -> Task:
    """The next symbol of a text, at each of 64 places."""
    return Task(shakespeare(), 65)


IMAGENET = Standardise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR = Standardise((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR_100 = Standardise((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))

KNOWN: dict[str, Callable[[], Task]] = {
    "digits": digits_task,
    "cifar10": partial(_pictures, "cifar10", "CIFAR10", 10, CIFAR),
    "cifar100": partial(_pictures, "cifar100", "CIFAR100", 100, CIFAR_100),
    "mnist": partial(_pictures, "mnist", "MNIST", 10, Standardise((0.1307,), (0.3081,))),
    "fashion_mnist": partial(_pictures, "fashion_mnist", "FashionMNIST", 10, Standardise((0.2860,), (0.3530,))),
    "cifar100_224": partial(_pictures, "cifar100", "CIFAR100", 100, Enlarged(CIFAR_100.mean, CIFAR_100.deviation)),
    "imagenet": partial(_large, "imagenet", 1000),
    "cars": partial(_large, "cars", 196),
    "flowers": partial(_large, "flowers", 102),
    "shakespeare": shakespeare_task,
}


def task(name: str, made: Callable[[], Task | Split]) -> Task:
    """What a data set's function returns; a plain ``Split`` is shown as it is, with the classes that its labels have."""
    found = made()
    if isinstance(found, Split):
        return Task(found, int(found.y.max()) + 1)
    if not isinstance(found, Task):
        raise TypeError(f"{name} must return a Split or a Task of experiments.data, and returned {type(found).__name__}")
    return found
