"""Wrong labels."""

import torch

from experiments.data.noise import flipped


def test_noise_moves_exactly_its_part_to_other_classes():
    labels = torch.arange(1000) % 10
    noisy = flipped(labels, 0.3, seed=0)
    assert (noisy != labels).sum() == 300
    assert noisy.min() >= 0
    assert noisy.max() <= 9


def test_labels_of_a_text_are_moved_one_by_one():
    labels = torch.arange(1000).view(10, 100) % 10
    moved = flipped(labels, 0.3, seed=0)
    assert (moved != labels).sum() == 300 and torch.equal(moved.flatten(), flipped(labels.flatten(), 0.3, seed=0))
