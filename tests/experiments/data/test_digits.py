"""The split of the digits."""

import torch

from experiments.data.digits import digits

SIZE = 597


def test_the_split_is_fixed_disjoint_and_stratified():
    split, again = digits(SIZE), digits(SIZE)
    assert torch.equal(split.x, again.x)
    assert len(split.y) + len(split.test_y) == 1797
    train, test = split.y.bincount() / len(split.y), split.test_y.bincount() / len(split.test_y)
    assert (train - test).abs().max() < 0.005
    rows = torch.cat([split.x, split.test_x]).flatten(1)
    assert len(rows.unique(dim=0)) == len(rows)


def test_noise_leaves_the_test_labels_alone():
    assert torch.equal(digits(SIZE, 0.5).test_y, digits(SIZE).test_y)
