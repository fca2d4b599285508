"""What may move samples by the values of a batch is noticed, and masks that act entry by entry are not."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosam.engines.hooks.capture import Capture
from tests.networks import build, draw

X, TOKENS = draw(6, 4), torch.randint(5, (6, 3), generator=torch.Generator().manual_seed(0))
EMBEDDING = build(lambda: nn.Embedding(5, 4))


def order(x: Tensor) -> Tensor:
    return x[:, 0].argsort()


def ranks(x: Tensor) -> Tensor:
    return ((x[:, :1] > x[:, 0]).sum(1)[:, None] == torch.arange(6)).to(x.dtype)


MOVES = {
    "index": lambda x, t: x[order(x)],
    "index_select": lambda x, t: x.index_select(0, order(x)),
    "sorted values": lambda x, t: x.sort(0).values,
    "scatter": lambda x, t: torch.zeros_like(x).scatter(0, order(x)[:, None].expand_as(x), x),
    "mask": lambda x, t: x[x[:, 0] > 0],
    "matrix of comparisons": lambda x, t: ranks(x) @ x,
    "matrix of tokens": lambda x, t: F.one_hot(t[:, 0], 6).to(x.dtype).T @ x,
    "scaled matrix": lambda x, t: ((t[:, :1] > t[:, 0]) * 1.0) @ x,
    "sparse": lambda x, t: torch.sparse.mm(ranks(x).to_sparse(), x),
    "tokens sorted": lambda x, t: F.embedding(t.sort(0).values, EMBEDDING.weight),
    "a number read": lambda x, t: x.roll(int(x[0, 0]), 0),
    "a branch": lambda x, t: x - x.mean(0) if x.mean() > 0 else x,
    "gather by tokens": lambda x, t: x.gather(0, t[:, :1].expand_as(x)),
}
STAYS = {
    "padding": lambda x, t: x.masked_fill((t[:, :1] == 0), 0.0) * (t[:, 1:2] != 0),
    "padding, as a factor": lambda x, t: x * (t[:, :1] != 0).to(x.dtype),
    "token mean": lambda x, t: x / (t != 0).sum(1, keepdim=True),
    "embedding": lambda x, t: EMBEDDING(t[:, 1:]).mean(1),
    "positions": lambda x, t: EMBEDDING(torch.arange(3).expand(6, 3)),
    "maximum over features": lambda x, t: x.max(1).values,
    "layers": lambda x, t: F.layer_norm(F.relu(x), (4,)).softmax(1),
    "flip": lambda x, t: x.flip(0)[1:].reshape(-1, 2),
}


@pytest.mark.parametrize("name", [*MOVES, *STAYS])
@pytest.mark.filterwarnings("ignore:Sparse")
def test_what_may_move_samples_is_noticed(name):
    capture = Capture(list(EMBEDDING.parameters()))
    with capture:
        (MOVES | STAYS)[name](X, TOKENS)
    assert capture.routes.found == (name in MOVES)
