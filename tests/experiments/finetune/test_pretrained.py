"""Trained networks: what is kept, what is new, and what is said where weights, data or timm are missing."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from experiments.common.methods import ASAM, CONTROL, FSAM, SAM
from experiments.data.known import KNOWN
from experiments.data.mapped import mapped
from experiments.finetune import presets, pretrained
from experiments.finetune.score import ranked
from experiments.networks.initial import drawn_from
from geosam.metrics import GradientMagnitude
from tests.networks import draw


def test_the_trunk_is_what_was_trained_and_the_head_is_the_seed_s(monkeypatch):
    monkeypatch.setattr(pretrained, "EPOCHS", 1)
    pretrained._trained.cache_clear()
    before = torch.get_rng_state()
    models = []
    for seed in (0, 1):
        with drawn_from(seed):
            models.append(pretrained.digit_vit((1, 8, 8), 10).state_dict())
    pretrained._trained.cache_clear()
    same = {name for name in models[0] if torch.equal(models[0][name], models[1][name])}
    assert set(models[0]) - same == {"head.weight", "head.bias"} and len(models[0]["head.bias"]) == 10
    assert torch.equal(before, torch.get_rng_state())


def test_missing_weights_and_data_and_timm_say_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("GEOSAM_DATA", str(tmp_path))

    class Timm:
        @staticmethod
        def create_model(name, pretrained, num_classes):
            return nn.Linear(2, num_classes)

    monkeypatch.setitem(sys.modules, "timm", Timm)
    with pytest.raises(FileNotFoundError, match=r"weights/vit_b16\.pt is not in .*pretrained=True.*GEOSAM_DATA"):
        pretrained.vit_b16((3, 224, 224), 100)
    (tmp_path / "weights").mkdir()
    torch.save(nn.Linear(2, 1000).state_dict(), tmp_path / "weights" / "deit_b.pt")
    assert pretrained.deit_b((3, 224, 224), 1000).bias.shape == (1000,)
    with pytest.raises(ValueError, match="keeps its head of 1000 classes"):
        pretrained.deit_b((3, 224, 224), 10)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match="pip install timm"):
        pretrained.deit_b((3, 224, 224), 1000)
    mapped.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"flowers/train_x\.npy.*GEOSAM_DATA"):
        KNOWN["flowers"]()
    (tmp_path / "flowers").mkdir()
    for part in ("train", "test"):
        np.save(tmp_path / "flowers" / f"{part}_x.npy", np.zeros((3, 3, 4, 4), np.uint8))
        np.save(tmp_path / "flowers" / f"{part}_y.npy", np.arange(3))
    task = KNOWN["flowers"]()
    assert task.shape == (3, 4, 4) and task.standardise(task.split.x[:2]).dtype == torch.float32
    mapped.cache_clear()


def test_small_images_are_enlarged():
    from experiments.data.task import Enlarged

    assert Enlarged((0.5,), (0.25,), 6)(torch.full((1, 1, 3, 3), 255.0)).eq(2.0).all()
    assert Enlarged((0.5,), (0.25,))(torch.zeros(1, 1, 3, 3)).shape == (1, 1, 224, 224)


def test_top_5_is_counted():
    logits = draw(40, 8, seed=1)
    y = torch.arange(40) % 8
    found = ranked(nn.Identity(), None, [(logits[:30], y[:30]), (logits[30:], y[30:])])
    among = sum(int(y[i] in logits[i].sort(descending=True).indices[:5]) for i in range(40))
    assert found["top5"] == among / 40 and found["accuracy"] == pytest.approx((logits.argmax(1) == y).double().mean().item())


@pytest.mark.parametrize(
    "preset, radii, eta, training",
    [
        (presets.imagenet, (0.05, 1.0, 0.5), 0.1, (3, 256, 1e-5, 1e-4, "imagenet")),
        (presets.cifar100, (0.05, 0.1, 0.1), 1.0, (200, 256, 5e-4, 0.05, "cifar100_224")),
        (presets.cars, (0.05, 0.1, 0.1), 1.0, (200, 256, 5e-4, 0.05, "cars")),
        (presets.flowers, (0.05, 0.1, 0.1), 1.0, (200, 256, 5e-4, 0.05, "flowers")),
    ],
)
def test_published_settings(preset, radii, eta, training):
    found = preset()
    assert tuple(found.methods[name].rho for name in (SAM, ASAM, FSAM)) == radii and found.methods[CONTROL].rho == radii[2]
    assert found.methods[FSAM].metric == GradientMagnitude(eta, 1.0)
    sgd = found.optimizer
    assert (found.epochs, found.data.batch, sgd.lr, sgd.weight_decay, found.data.data) == training and sgd.schedule == "cosine"
