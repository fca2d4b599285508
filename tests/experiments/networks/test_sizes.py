"""The networks of the literature have their size."""

import torch

from experiments.networks.vision_transformer import vision_transformer
from experiments.networks.wide_resnet import wide_resnet


def test_the_networks_have_the_size_of_the_literature():
    with torch.device("meta"):
        networks = wide_resnet(), vision_transformer(224, 16, 384, 12, 6, 1000)
    assert [sum(p.numel() for p in m.parameters()) for m in networks] == [36_479_194, 22_050_664]
