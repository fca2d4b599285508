"""Products of norms."""

import pytest
import torch

import geosam
from geosam import norms


@pytest.mark.parametrize("kind", [norms.JointBall, norms.JointInnerProduct, norms.BallEach])
def test_a_block_of_weight_zero_does_not_move_and_the_others_do_not_notice(kind):
    c = [torch.tensor([3.0, 4.0]), torch.tensor([1.0])]
    free = norms.Block([0], norms.Identity(), 2.0)
    found = geosam.solve(kind([free, norms.Block([1], norms.Identity(), 0.0)]), c, 0.1)
    torch.testing.assert_close(found.epsilon, [torch.tensor([0.12, 0.16]), torch.zeros(1)])
    assert found.dual_norm == pytest.approx(10.0)
