"""Within Still nothing is left to chance."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosam.engines.still import Still
from tests.networks import build, draw, mlp
from tests.placement import device


class Noisy(nn.Module):
    """Draws of its own, and layers that draw inside; samples do not meet."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 5, num_layers=2, dropout=0.4, batch_first=True)
        self.attention = nn.MultiheadAttention(5, 1, dropout=0.2, batch_first=True)
        self.relu, self.head = nn.RReLU(), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.rnn(x)[0]
        h = self.relu(h + self.attention(h, h, h)[0]) * (1 + 0.1 * torch.randn_like(h))
        return self.head(F.alpha_dropout(h, 0.2, self.training).mean(1))


def test_within_still_nothing_is_left_to_chance_and_dropout_keeps_its_mean():
    model, x = build(Noisy, dtype=torch.float64), draw(6, 5, 4, dtype=torch.float64)
    with Still():
        first, second = model(x), model(x)
        doubled = F.dropout(x, 0.5)
        alone = torch.cat([model(x[i : i + 1]) for i in range(6)])
    assert torch.equal(first, second) and torch.equal(doubled, 2 * x) and not torch.equal(model(x), model(x))
    torch.testing.assert_close(first, alone)


@pytest.mark.parametrize("draw_out", [lambda x: torch.native_dropout(x, 0.25, True)[0], lambda x: F.dropout1d(x, 0.25)])
def test_within_still_every_dropout_has_the_gradient_of_what_it_does(draw_out):
    x = draw(6, 5, 4, dtype=torch.float64).requires_grad_()
    with Still():
        out = draw_out(x)
        (slope,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(out, x / 0.75)
    torch.testing.assert_close(slope, torch.full_like(x, 1 / 0.75))


def test_a_check_is_as_sharp_as_the_narrowest_type_that_was_met():
    model, x = build(mlp, dtype=torch.float64), draw(2, 4, dtype=torch.float64)
    with Still() as wide:
        model(x)
    model, x = build(mlp), draw(2, 4)
    with Still() as narrow, torch.autocast(device().type, torch.bfloat16):
        model(x)
    assert wide.tolerance < 1e-6 and narrow.tolerance == 0.2
