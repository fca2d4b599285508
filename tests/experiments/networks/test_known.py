"""Networks by name."""

import sys

import pytest
import torch
from torch import nn

from experiments.networks.fast_cnn import fast_cnn
from experiments.networks.known import KNOWN, network
from experiments.networks.small_transformer import small_transformer

MILLIONS = {  # of parameters at ten classes: He et al. (0.27, 0.46, 0.85), Zagoruyko and Komodakis (1.5, 36.5)
    "resnet20": 0.27, "resnet32": 0.46, "resnet56": 0.85, "wrn28_2": 1.5, "wrn28_10": 36.5,
    "vgg19_bn": 20.0, "resnet34": 21.3, "densenet121": 7.0,
}  # fmt: skip
ELSEWHERE = {
    "resnext29": ("pytorchcv", 4.8), "pyramidnet272": ("pytorchcv", 26.2), "vit_b": ("timm", 85.1), "deit_b": ("timm", 85.1),
}  # fmt: skip


@pytest.mark.parametrize("name", MILLIONS)
def test_networks_have_their_size_and_take_any_classes(name):
    with torch.device("meta"):
        built = KNOWN[name]((3, 32, 32), 10), KNOWN[name]((1, 32, 32), 100)
    assert sum(p.numel() for p in built[0].parameters()) / 1e6 == pytest.approx(MILLIONS[name], rel=0.03)
    assert built[1].eval()(torch.zeros(2, 1, 32, 32, device="meta")).shape == (2, 100)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_networks_of_other_libraries_are_made_or_asked_for(name, monkeypatch):
    top, _ = ELSEWHERE[name]
    monkeypatch.setitem(sys.modules, top, None)
    for module in [m for m in sys.modules if m.startswith(f"{top}.")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ImportError, match=f"pip install {top}"):
        KNOWN[name]((3, 32, 32), 10)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ELSEWHERE)
def test_networks_of_other_libraries_have_their_size(name):
    top, millions = ELSEWHERE[name]
    pytest.importorskip(top)
    model = KNOWN[name]((3, 32, 32), 10)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.03)


def test_the_seed_alone_decides_the_values():
    one, same, other = (network(KNOWN["digit_cnn"], (1, 8, 8), 10, seed) for seed in (3, 3, 4))
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


def test_group_norm_keeps_samples_apart():
    model = network(KNOWN["resnet20_narrow"], (3, 8, 8), 10, 0, norm="group").train()
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    x = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(model(x)[:2], model(x[:2]))
    with pytest.raises(ValueError, match="norm is one of"):
        network(KNOWN["resnet20"], (3, 32, 32), 10, 0, norm="layer")


def test_whitening_makes_patches_white():
    torch.manual_seed(0)
    x = torch.randn(40, 3, 9, 9).cumsum(2).cumsum(3) / 9  # neighbours are alike
    model = fast_cnn((3, 9, 9), 10, (4, 4, 4))
    model.whiten(x, eps=0.0)
    seen = (model.white(x) - model.white.bias[:, None, None])[:, :12].permute(1, 0, 2, 3).flatten(1)
    torch.testing.assert_close(seen @ seen.T / seen.shape[1], torch.eye(12), atol=2e-2, rtol=0)
    torch.testing.assert_close(model.white.weight[:12], -model.white.weight[12:])
    assert not model.white.weight.requires_grad


def test_the_network_of_the_recipe_has_its_size():
    model = fast_cnn((3, 32, 32), 10)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(1.97e6, rel=0.02)
    assert model.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_images_too_small_for_the_recipe_are_refused():
    with pytest.raises(ValueError, match="9×9 and more"):
        fast_cnn((1, 8, 8), 10)


def test_a_symbol_does_not_see_those_after_it():
    model = small_transformer(8, 5, 16, 1, 2).eval()
    x = torch.randint(5, (1, 8))
    changed = x.clone()
    changed[0, 5] = (x[0, 5] + 1) % 5
    one, other = model(x), model(changed)
    assert one.shape == (1, 5, 8) and torch.equal(one[..., :5], other[..., :5]) and not torch.equal(one[..., 5], other[..., 5])
