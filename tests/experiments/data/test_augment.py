"""Augmentation of whole batches, against one image at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.data.augment import Auto, Crop, Cutout, Flip, Pipeline


def drawn(seed):
    return torch.Generator().manual_seed(seed)


def images(n=6, height=5, width=7):
    return torch.arange(1, n * 2 * height * width + 1).view(n, 2, height, width).to(torch.int16)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), padding=st.integers(1, 3))
def test_a_crop_is_a_window_of_the_padded_image(seed, padding):
    x = images()
    found = Crop(padding)(x, drawn(seed))
    for image, got in zip(x, found, strict=True):
        padded = torch.nn.functional.pad(image, (padding,) * 4)
        windows = [padded[:, i : i + 5, j : j + 7] for i in range(2 * padding + 1) for j in range(2 * padding + 1)]
        assert sum(torch.equal(got, window) for window in windows) == 1
    assert found.dtype == x.dtype


def test_crops_reach_every_place():
    x = images(1).expand(400, -1, -1, -1)
    assert len({tuple(image.flatten().tolist()) for image in Crop(1)(x, drawn(0))}) == 9


def test_a_flip_turns_some_images_whole():
    x = images(40)
    turned = [torch.equal(got, image.flip(2)) for image, got in zip(x, Flip()(x, drawn(0)), strict=True)]
    assert all(t or torch.equal(got, image) for t, image, got in zip(turned, x, Flip()(x, drawn(0)), strict=True))
    assert 8 < sum(turned) < 32


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), side=st.integers(1, 5))
def test_a_hole_is_one_square_cut_at_the_border(seed, side):
    for image in Cutout(side)(images(), drawn(seed)):
        rows, columns = ((image[0] == 0).any(1).nonzero().flatten(), (image[0] == 0).any(0).nonzero().flatten())
        assert 1 <= len(rows) <= side and 1 <= len(columns) <= side
        assert (image[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 0).all()
        assert (image == 0).sum() == 2 * len(rows) * len(columns)
        for found, size in ((rows, 5), (columns, 7)):
            assert len(found) == side or found[0] == 0 or found[-1] == size - 1


def test_changes_of_pixels_come_before_standardising_and_holes_after():
    pipeline = Pipeline((Flip(),), (Cutout(3),))
    x = torch.full((4, 1, 6, 6), 7.0)
    found = pipeline(x, lambda pixels: pixels - 4, drawn(0))
    assert set(found.unique().tolist()) == {0.0, 3.0}


@pytest.mark.slow  # torchvision takes seconds to import
@pytest.mark.filterwarnings("ignore")
def test_autoaugment_changes_images_and_leaves_torchs_random_state():
    before, x = torch.get_rng_state(), torch.randint(256, (3, 3, 8, 8), dtype=torch.uint8, generator=drawn(1))
    once, again = (Auto()(x, drawn(2)) for _ in range(2))
    assert torch.equal(once, again) and once.shape == x.shape and once.dtype == x.dtype and not torch.equal(once, x)
    assert torch.equal(before, torch.get_rng_state())
