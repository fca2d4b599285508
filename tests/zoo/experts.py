"""Mixtures of experts, and other models that route or reorder samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.layers import N, Net, draw, free, labels
from tests.zoo.line import MEET, TOGETHER, Line, Setting

WIDTH, EXPERTS = 3, 2


def routed(run: Any, x: Tensor | None = None, together: bool = False, **parts: Any) -> Setting:
    experts = nn.ModuleList(nn.Linear(WIDTH, 3) for _ in range(EXPERTS))
    net = Net(run, experts=experts, **parts)
    return Setting(net, nn.CrossEntropyLoss(), draw(N, WIDTH) if x is None else x, labels(), together=together)


def soft(s: Any, x: Tensor) -> Tensor:
    """All experts, weighed by the gate."""
    return (torch.stack([e(x) for e in s.experts], 1) * s.gate(x).softmax(1)[..., None]).sum(1)


def top_one(s: Any, x: Tensor) -> Tensor:
    """Each sample by one expert, gathered and put back."""
    p = s.gate(x).softmax(1)
    out = x.new_zeros(len(x), 3)
    for k, expert in enumerate(s.experts):
        mine = (p.argmax(1) == k).nonzero()[:, 0]
        out = out.index_add(0, mine, expert(x[mine]) * p[mine, k : k + 1])
    return out


def top_two(s: Any, x: Tensor) -> Tensor:
    """The two best of three, their weights normalised again."""
    best, index = s.gate(x).topk(2, 1)
    everything = torch.stack([e(x) for e in [*s.experts, s.third]], 1)
    return (everything.gather(1, index[..., None].expand(-1, -1, 3)) * best.softmax(1)[..., None]).sum(1)


def switched(s: Any, x: Tensor) -> Tensor:
    """Stacked weights, each sample with its own expert's."""
    return torch.bmm(x.unsqueeze(1), s.weights[s.gate(x).argmax(1)]).squeeze(1)


def centred(s: Any, x: Tensor) -> Tensor:
    """The mean of each of two groups of samples is taken off."""
    h, group = s.gate(x), torch.arange(len(x)) % 2
    return h - torch.zeros_like(h[:2]).index_reduce(0, group, h, "mean", include_self=False)[group]


def capacity(s: Any, x: Tensor) -> Tensor:
    """An expert takes the first two samples that come; the rest are dropped."""
    out = x.new_zeros(len(x), 3)
    for k, expert in enumerate(s.experts):
        mine = (x[:, :EXPERTS].argmax(1) == k).nonzero()[:, 0][:2]
        out = out.index_add(0, mine, expert(x[mine]))
    return out


def chosen(s: Any, x: Tensor) -> Tensor:
    """An expert chooses its samples, by their scores in the batch."""
    p = s.gate(x).softmax(1)
    out = x.new_zeros(len(x), 3)
    for k, expert in enumerate(s.experts):
        mine = p[:, k].topk(len(x) // 2 + 1).indices[: max(1, len(x) // 2)]
        out = out.index_add(0, mine, expert(x[mine]) * p[mine, k : k + 1])
    return out


def ordered(s: Any, x: Tensor) -> Tensor:
    """Sorted by a number of each sample, and back."""
    order = x[:, 0].argsort()
    return s.experts[0](x[order]).tanh()[order.argsort()] + s.experts[1](x)


def halves(s: Any, x: Tensor) -> Tensor:
    """Two interleaved halves of the batch, one after the other."""
    h = torch.cat([x[0::2], x[1::2]])
    h = s.experts[0](h).tanh()
    k = (len(h) + 1) // 2
    out = torch.empty_like(h)
    out[0::2], out[1::2] = h[:k], h[k:]
    return out + s.experts[1](x)


def reversed_inside(s: Any, x: Tensor) -> Tensor:
    """First and last stay: the rest are the other way round."""
    order = torch.arange(len(x))
    order[1:-1] = order[1:-1].flip(0)
    return s.experts[0](x[order]).tanh()[order] + s.experts[1](x)


def by_product(s: Any, x: Tensor) -> Tensor:
    """Reordered by a product with a permutation matrix, made by comparisons."""
    rank = (x[:, :1] > x[:, 0]).sum(1)
    swap = (rank[:, None] == torch.arange(len(x))).to(x.dtype)
    return swap @ s.experts[0](swap.T @ x).tanh() + s.experts[1](x)


def scattered(s: Any, x: Tensor) -> Tensor:
    """Written to places by an index, and read again."""
    place = x[:, 1].argsort().argsort()
    slots = x.new_zeros(len(x), WIDTH).scatter(0, place[:, None].expand(-1, WIDTH), x)
    return s.experts[0](slots).tanh()[place] + s.experts[1](x)


def sparse(s: Any, x: Tensor) -> Tensor:
    """Reordered by a sparse product."""
    order = x[:, 2].argsort()
    pairs = torch.stack([torch.arange(len(x)), order])
    swap = torch.sparse_coo_tensor(pairs, x.new_ones(len(x)), (len(x), len(x)), check_invariants=False)
    h = s.experts[0](torch.sparse.mm(swap, x)).tanh()
    return torch.sparse.mm(swap.t(), h) + s.experts[1](x)


def gate(experts: int = EXPERTS) -> nn.Linear:
    return nn.Linear(WIDTH, experts)


def crowded() -> Tensor:
    """All but one sample for the first expert."""
    x = draw(N, WIDTH)
    x[:, 0] = 3.0
    x[-1, 1] = 5.0
    return x


def load() -> Setting:
    """With the usual loss on the balance of experts, which is a product of the batch's means."""

    def run(s: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        return soft(s, x), s.gate(x).softmax(1)

    def loss(z: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        return F.cross_entropy(z[0], y) + 0.1 * z[1].mean(0).square().sum()

    found = routed(run, gate=gate())
    found.loss = loss
    return found


BALANCE = {"distribution": "needs the model's predictive", "samples": "this loss is not a mean over samples"}
LINES = [
    Line("experts, all weighed, cross-entropy", lambda: routed(soft, gate=gate())),
    Line("experts, top 1, cross-entropy", lambda: routed(top_one, gate=gate())),
    Line("experts, top 2 of 3, cross-entropy", lambda: routed(top_two, gate=gate(3), third=nn.Linear(WIDTH, 3))),
    Line("experts with stacked weights, cross-entropy", lambda: routed(switched, gate=gate(), weights=free(EXPERTS, WIDTH, 3))),
    Line("experts with a capacity that is full, cross-entropy", lambda: routed(capacity, crowded(), True), MEET, only=TOGETHER),
    Line(
        "experts that choose their samples, cross-entropy", lambda: routed(chosen, None, True, gate=gate()), MEET, only=TOGETHER
    ),
    Line(
        "means of groups in the batch taken off, cross-entropy",
        lambda: routed(centred, None, True, gate=gate(3)),
        MEET,
        only=TOGETHER,
    ),
    Line("experts, cross-entropy and a loss on their balance", load, BALANCE),
    Line("samples sorted inside, cross-entropy", lambda: routed(ordered)),
    Line("samples in interleaved halves, cross-entropy", lambda: routed(halves)),
    Line("samples reversed but for the ends, cross-entropy", lambda: routed(reversed_inside)),
    Line("samples moved by a matrix product, cross-entropy", lambda: routed(by_product)),
    Line("samples scattered and gathered, cross-entropy", lambda: routed(scattered)),
    Line("samples moved by a sparse product, cross-entropy", lambda: routed(sparse)),
]
