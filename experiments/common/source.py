"""What a run of a study is trained on, and the network that fits it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from ..data import known as data
from ..data.augment import Pipeline
from ..data.batches import Batch
from ..data.task import Task
from ..networks import known as networks
from ..networks.autocast import Autocast
from ..networks.fast_cnn import FastCNN
from .named import named

TEST_BATCH, PROBES, WHITENED = 1000, 900_000, 5000


@dataclass(frozen=True)
class Source:
    """seed ↦ batches. data: a name of ``data/known.py`` or ``module:name``. The seed decides order and augmentation only.

    train, test: so many samples of the data set, None all. noise: the part of the training labels that is moved; samples held
    out for tuning have noisy labels too, as a user's would. chosen: the seed of all these draws, which every run shares.
    own: what ``module:name`` is, so that a record follows its code.
    """

    data: str
    batch: int
    train: int | None = None
    test: int | None = None
    held_out: float = 0.0
    noise: float = 0.0
    pipeline: Pipeline = Pipeline()
    alternate: bool = False
    chosen: int = 0
    device: str = "cpu"
    own: Any = None

    def __call__(self, seed: int) -> Stream:
        """The batches of one run."""
        return Stream(self, seed)

    def check(self) -> None:
        """Raises: Missing without the data's files."""
        _whole(self)

    @property
    def task(self) -> Task:
        """Training samples, those held out in place of a test set where there are some. Loaded once a process."""
        return _tasks(self)[0]

    @property
    def tested(self) -> Task:
        """The same with the test set."""
        return _tasks(self)[1]


@lru_cache(maxsize=4)
def _tasks(source: Source) -> tuple[Task, Task]:
    task = _whole(source).part(source.train, source.test, source.chosen).noisy(source.noise, source.chosen).to(source.device)
    return (task.held_out(source.held_out, source.chosen) if source.held_out else task), task


def _whole(source: Source) -> Task:
    return data.task(source.data, source.own or named("data set", source.data, data.KNOWN))


@dataclass(frozen=True)
class Stream:
    """The batches of one run, one at a time, on the source's device."""

    source: Source
    seed: int

    @property
    def steps(self) -> int:
        """Whole batches an epoch."""
        return len(self.source.task.split.y) // self.source.batch

    def epoch(self, index: int) -> Iterator[Batch]:
        """A function of seed and index."""
        source = self.source
        return source.task.epoch(index, source.batch, self.seed, source.pipeline, source.alternate)

    def probes(self, count: int) -> Sequence[Batch]:
        """Fixed training batches without augmentation."""
        batches = self.source.task.epoch(PROBES, self.source.batch, self.seed, Pipeline())
        return [batch for batch, _ in zip(batches, range(count), strict=False)]

    @property
    def validation(self) -> list[Batch] | None:
        """What is held out."""
        return _shown(self.source.task) if self.source.held_out else None

    @property
    def test(self) -> list[Batch]:
        """The test set."""
        return _shown(self.source.tested)


def _shown(task: Task) -> list[Batch]:
    parts = zip(task.split.test_x.split(TEST_BATCH), task.split.test_y.split(TEST_BATCH), strict=True)
    return [(task.standardise(x), y) for x, y in parts]


@dataclass(frozen=True)
class Network:
    """seed ↦ a model for the inputs and classes of the source. model: a name of ``networks/known.py`` or ``module:name``."""

    model: str
    source: Source
    norm: str = "batch"
    half: bool = False
    own: Any = None

    def __call__(self, seed: int) -> nn.Module:
        """Only the seed decides its values; a network that whitens its inputs sees some of the training data first.

        half: bfloat16 where autocast takes it, channels last.
        """
        task = self.source.task
        build = self.own or named("network", self.model, networks.KNOWN)
        model = networks.network(build, task.shape, task.classes, seed, self.norm).to(self.source.device)
        if isinstance(model, FastCNN):
            model.whiten(task.standardise(_some(task.split.x)))
        if not self.half:
            return model
        return Autocast(model.to(memory_format=torch.channels_last), torch.device(self.source.device).type)


def _some(x: Tensor) -> Tensor:
    """A fixed part of the images, of all classes."""
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:WHITENED].to(x.device)]
