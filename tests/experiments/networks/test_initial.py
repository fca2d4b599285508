"""Initial values."""

import torch

from experiments.networks.digit_cnn import digit_cnn
from experiments.networks.digit_mlp import digit_mlp


def test_only_the_seed_decides_and_the_stream_goes_on():
    torch.manual_seed(1)
    wanted = torch.rand(2)
    torch.manual_seed(1)
    for network in (digit_cnn, digit_mlp):
        first, again, other = (next(network(4, seed).parameters()) for seed in (0, 0, 1))
        assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.rand(2), wanted)
