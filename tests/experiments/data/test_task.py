"""A data set with its parts, its noise, and its batches."""

import torch

from experiments.data.augment import Pipeline
from experiments.data.split import Split
from experiments.data.task import Standardise, Task

N = 40
TASK = Task(Split(torch.arange(N * 8.0).view(N, 1, 2, 4), torch.arange(N) % 4, torch.zeros(6, 1, 2, 4), torch.arange(6) % 4), 4)


def keys(x):
    """Which images these are."""
    return sorted((x[:, 0, 0].amin(1) // 8).long().tolist())


def test_an_epoch_shows_every_image_of_whole_batches_once():
    found = [keys(torch.cat([x for x, _ in TASK.epoch(e, 8, 3, Pipeline())])) for e in range(2)]
    assert found == [list(range(N))] * 2
    orders = [torch.cat([y for _, y in TASK.epoch(e, 8, seed, Pipeline())]) for e, seed in ((0, 3), (0, 3), (1, 3), (0, 4))]
    assert torch.equal(orders[0], orders[1]) and not any(torch.equal(orders[0], other) for other in orders[2:])
    assert len(list(TASK.epoch(0, 12, 3, Pipeline()))) == 3


def test_labels_stay_with_their_images():
    for x, y in TASK.epoch(5, 8, 0, Pipeline(), alternate=True):
        assert torch.equal((x[:, 0, 0].amin(1) // 8).long() % 4, y)


def test_alternating_shows_both_sides_in_two_epochs():
    sides = []
    for number in range(3):
        x = torch.cat([x for x, _ in TASK.epoch(number, 8, 1, Pipeline(), alternate=True)])
        order = (x[:, 0, 0].amin(1) // 8).long()
        sides.append((x[:, 0, 0, 0] > x[:, 0, 0, 1])[order.argsort()])
    assert torch.equal(sides[0], ~sides[1]) and torch.equal(sides[0], sides[2]) and 0 < sides[0].sum() < N


def test_what_is_held_out_is_not_trained_on_and_the_test_set_is_gone():
    held = TASK.held_out(0.25, 0)
    assert len(held.split.test_y) == 10 and keys(torch.cat([held.split.x, held.split.test_x])) == list(range(N))


def test_noise_is_in_the_training_labels_only():
    noisy = TASK.noisy(0.5, 0).split
    assert int((noisy.y != TASK.split.y).sum()) == 20 and torch.equal(noisy.test_y, TASK.split.test_y)
    assert noisy.y.max() < 4


def test_parts_are_drawn_without_repetition():
    part = TASK.part(10, 3, 2).split
    assert len(set(keys(part.x))) == 10 and len(part.test_y) == 3


def test_standardised_channels():
    x = torch.tensor([[[[0]], [[255]]]], dtype=torch.uint8)
    assert Standardise((0.5, 0.0), (0.5, 2.0))(x).flatten().tolist() == [-1.0, 0.5]


def test_held_out_samples_have_wrong_labels_as_often_as_the_others():
    n = 4000
    clean = Task(
        Split(torch.arange(n).float()[:, None, None, None], torch.arange(n) % 10, torch.zeros(1, 1, 1, 1), torch.zeros(1)), 10
    )
    task = clean.noisy(0.4, 0).held_out(0.2, 0)
    for x, y in ((task.split.x, task.split.y), (task.split.test_x, task.split.test_y)):
        wrong = (y != x.flatten().long() % 10).double().mean()
        assert abs(wrong - 0.4) < 0.05
