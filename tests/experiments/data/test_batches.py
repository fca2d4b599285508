"""The order of batches."""

import torch

from experiments.data.batches import batches, probes
from experiments.data.split import Split

SIZE, BATCH = 597, 64
SPLIT = Split(torch.arange(SIZE), torch.arange(SIZE) % 10, torch.arange(3), torch.arange(3))


def test_a_longer_run_starts_with_the_batches_of_the_shorter():
    short, long = (list(batches(SPLIT, BATCH, epochs, seed=3)) for epochs in (1, 2))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(short[0], long[0], strict=True))
    assert not torch.equal(long[0][0][0], long[1][0][0])
    assert len(short[0]) == SIZE // BATCH


def test_probes_are_whole_batches_in_another_order():
    fixed = probes(SPLIT, BATCH, 3, seed=3)
    assert len(fixed) == 3 and all(len(x) == BATCH and torch.equal(x % 10, y) for x, y in fixed)
    assert not torch.equal(fixed[0][0], next(batches(SPLIT, BATCH, 1, seed=3))[0][0])
