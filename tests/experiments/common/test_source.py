"""The data of a run, and the network that fits it."""

import torch

from experiments.common.source import Network, Source
from experiments.data.split import Split
from experiments.data.task import Task

DIGITS = Source("digits", batch=20, train=120, test=60, held_out=0.25, noise=0.5)


def images(batches):
    return {tuple(x.flatten().tolist()) for batch, _ in batches for x in batch}


def test_what_is_held_out_is_neither_trained_on_nor_tested():
    stream = DIGITS(0)
    trained, held, tested = images(stream.epoch(0)), images(stream.validation), images(stream.test)
    assert stream.steps == 4 and len(trained) == 80 and len(held) == 30 and len(tested) == 60
    assert not trained & held and not (trained | held) & tested


def test_the_seed_decides_the_order_and_nothing_else():
    one, same, other = DIGITS(1), DIGITS(1), DIGITS(2)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(one.epoch(3), same.epoch(3), strict=True))
    assert not torch.equal(next(one.epoch(3))[0], next(other.epoch(3))[0])
    assert all(torch.equal(a[1], b[1]) for a, b in zip(one.test, other.test, strict=True))


def test_noise_is_in_training_and_held_out_labels_and_not_in_the_test():
    clean = Source("digits", batch=20, train=120, test=60, held_out=0.25)
    assert torch.equal(clean(0).test[0][1], DIGITS(0).test[0][1])
    moved = (clean.task.split.y != DIGITS.task.split.y).sum() + (clean.task.split.test_y != DIGITS.task.split.test_y).sum()
    assert moved == 60


def test_without_anything_held_out_there_is_no_validation():
    assert Source("digits", batch=20)(0).validation is None and len(Source("digits", batch=20)(0).probes(2)) == 2


def colours():
    x = torch.randint(256, (40, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Task(Split(x, torch.arange(40) % 4, x[:8], torch.arange(8) % 4), 4)


def test_anybodys_data_and_a_network_that_whitens():
    source = Source(f"{__name__}:colours", batch=8, own=colours)
    small, half = (Network("fast_cnn_small", source, half=half)(3) for half in (False, True))
    x, _ = next(iter(source(0).epoch(0)))
    assert small(x.float()).shape == (8, 4) and small.white.weight.abs().sum() > 0
    assert half.eval()(x.float()).dtype == torch.float32 and not torch.equal(half(x.float()), small.eval()(x.float()))
