"""Principal components that do not depend on the training set."""

import torch

from experiments.data.digit_components import digit_components


def test_the_map_is_that_of_the_images_put_aside():
    few, many = digit_components(100, 397, 3), digit_components(1000, 397, 3)
    both = torch.cat([few.x, few.test_x])
    assert len(both) == len(many.x) + len(many.test_x) == 1797 - 397
    assert torch.equal(both.sort(0).values, torch.cat([many.x, many.test_x]).sort(0).values)
    assert both.var(0).min() > 0.9 and both.var(0).max() < 1.1, "close to 1, which holds on the images put aside"
