"""Data sets by name, from the folders and archives that people have."""

import pickle

import numpy as np
import pytest
import torch

from experiments.data.known import KNOWN, task
from experiments.data.pictures import pictures
from experiments.data.shakespeare import shakespeare
from experiments.data.split import Split


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOSAM_DATA", str(tmp_path))
    for cached in (pictures, shakespeare):
        cached.cache_clear()
    yield tmp_path
    for cached in (pictures, shakespeare):
        cached.cache_clear()


def test_the_digits_are_there_and_standardised():
    digits = task("digits", KNOWN["digits"])
    assert digits.shape == (1, 8, 8) and len(digits.split.y) == 1197 and len(digits.split.test_y) == 600
    shown = digits.standardise(digits.split.x)
    assert abs(shown.mean()) < 0.02 and abs(shown.std() - 1) < 0.02


@pytest.mark.parametrize("name", sorted(set(KNOWN) - {"digits"}))
def test_what_is_missing_says_how_to_get_it(folder, name):
    with pytest.raises(FileNotFoundError, match=r"On a machine with a network: (python -c|curl|write its images).*GEOSAM_DATA"):
        KNOWN[name]()


def test_an_archive_of_arrays(folder):
    x = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    np.savez(folder / "cifar10.npz", train_x=x, train_y=np.arange(5), test_x=x[:2], test_y=np.arange(2))
    split = KNOWN["cifar10"]().split
    assert split.x.shape == (5, 3, 4, 6) and split.x.dtype == torch.uint8 and split.test_y.dtype == torch.int64
    assert (split.x[1, 2, 3, 4], split.x[4, 0, 0, 5]) == (x[1, 3, 4, 2], x[4, 0, 5, 0])


def test_a_folder_of_torchvision(folder, monkeypatch):
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    inside = folder / CIFAR10.base_folder
    inside.mkdir()
    for i, (file, _) in enumerate([*CIFAR10.train_list, *CIFAR10.test_list]):
        planes = np.full((2, 3072), i, np.uint8)
        (inside / file).write_bytes(pickle.dumps({"data": planes, "labels": [i, i]}))
    (inside / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    split = KNOWN["cifar10"]().split
    assert split.x.shape == (10, 3, 32, 32) and split.y.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert split.test_x.float().mean() == 5 and split.test_y.tolist() == [5, 5]


def test_windows_of_a_text_predict_one_place_on(folder):
    (folder / "tinyshakespeare.txt").write_text("abcdefghij" * 200)
    found = KNOWN["shakespeare"]().split
    assert found.x.shape == found.y.shape == (28, 64) and torch.equal(found.x[:, 1:], found.y[:, :-1])
    assert found.y[0, -1] == found.x[1, 0] and found.test_x.shape == (3, 64)


def test_a_function_that_returns_something_else_is_named():
    split = Split(torch.zeros(3, 2), torch.tensor([0, 4, 1]), torch.zeros(1, 2), torch.zeros(1).long())
    assert task("mine", lambda: split).classes == 5
    with pytest.raises(TypeError, match="mine must return a Split or a Task"):
        task("mine", lambda: (1, 2))  # type: ignore[return-value]
