"""The split, the noise and the order of batches."""

import torch

from experiments.compare.config import Training
from experiments.compare.data import batches, digits, flipped

CLEAN = Training(label_noise=0.0)


def test_the_split_is_fixed_disjoint_and_stratified():
    split, again = digits(CLEAN), digits(CLEAN)
    assert torch.equal(split.images, again.images)
    assert len(split.labels) + len(split.test_labels) == 1797
    train, test = split.labels.bincount() / len(split.labels), split.test_labels.bincount() / len(split.test_labels)
    assert (train - test).abs().max() < 0.005
    rows = torch.cat([split.images, split.test_images]).flatten(1)
    assert len(rows.unique(dim=0)) == len(rows)


def test_noise_moves_exactly_its_part_to_other_classes():
    labels = torch.arange(1000) % 10
    noisy = flipped(labels, 0.3, seed=0)
    assert (noisy != labels).sum() == 300
    assert noisy.min() >= 0
    assert noisy.max() <= 9


def test_noise_leaves_the_test_labels_alone():
    assert torch.equal(digits(Training(label_noise=0.5)).test_labels, digits(CLEAN).test_labels)


def test_a_longer_run_starts_with_the_batches_of_the_shorter():
    split = digits(CLEAN)
    short, long = (list(batches(split, CLEAN, epochs, seed=3)) for epochs in (1, 2))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(short[0], long[0], strict=True))
    assert not torch.equal(long[0][0][0], long[1][0][0])
    assert len(short[0]) == CLEAN.steps
