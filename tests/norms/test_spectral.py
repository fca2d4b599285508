"""Singular values of what has none."""

import torch

from geosam.norms import Spectral
from tests.networks import draw


def test_a_tensor_without_entries_counts_for_nothing():
    c = [draw(3, 2), torch.empty(0, 4), torch.empty(3, 0), torch.empty(0)]
    sharp, dual = Spectral().ascend(c)
    alone, wanted = Spectral().ascend(c[:1])
    torch.testing.assert_close(dual, wanted)
    torch.testing.assert_close(sharp[0], alone[0])
    assert [t.shape for t in sharp] == [t.shape for t in c]
    torch.testing.assert_close(Spectral().norm(sharp), dual)
