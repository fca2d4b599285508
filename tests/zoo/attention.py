"""Attention: causal and padding masks, fused kernels and torch's fast path in eval mode, queries that are parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.layers import N, Net, draw, free, labels
from tests.zoo.line import MEET, TOGETHER, Line, Setting

STEPS, WIDTH = 3, 3
CAUSAL = torch.ones(STEPS, STEPS, dtype=torch.bool).triu(1)


def padding() -> Tensor:
    """True where a key is padding."""
    return torch.arange(STEPS) >= torch.tensor([3, 2, 1, 3])[:, None]


def pooled(run: Any, *more: Tensor, **parts: Any) -> Setting:
    net = Net(run, head=nn.Linear(WIDTH, 3), **parts)
    x = draw(N, STEPS, WIDTH)
    return Setting(net, nn.CrossEntropyLoss(), (x, *more) if more else x, labels())


def itself(s: Any, x: Tensor, **options: Any) -> Tensor:
    return s.head(s.attention(x, x, x, need_weights=False, **options)[0].mean(1))


def multihead(**options: Any) -> nn.MultiheadAttention:
    return nn.MultiheadAttention(WIDTH, 1, batch_first=True, **options)


def causal(s: Any, x: Tensor) -> Tensor:
    return itself(s, x, attn_mask=CAUSAL)


def padded(s: Any, x: Tensor, mask: Tensor) -> Tensor:
    return itself(s, x, key_padding_mask=mask)


def encoder(evaluated: bool = False, **options: Any) -> Setting:
    """A layer of torch's encoder under a padding mask. In eval mode without a gradient it takes another kernel."""
    layer = nn.TransformerEncoderLayer(WIDTH, 1, 2, dropout=0.0, batch_first=True, **options)
    stack = nn.TransformerEncoder(layer, 1, enable_nested_tensor=evaluated)

    def run(s: Any, x: Tensor, mask: Tensor) -> Tensor:
        h = s.stack(x, src_key_padding_mask=mask)
        return s.head(h.masked_fill(mask[..., None], 0.0).sum(1))

    found = pooled(run, padding(), stack=stack)
    found.model.train(not evaluated)
    return found


def cross() -> Setting:
    layer = nn.TransformerDecoderLayer(WIDTH, 1, 2, dropout=0.0, batch_first=True)
    return pooled(lambda s, x, m: s.head(s.layer(x, m).mean(1)), draw(N, 2, WIDTH, seed=5), layer=layer)


def grouped(s: Any, x: Tensor) -> Tensor:
    """Two heads of queries, one of keys and values."""
    q = s.query(x).unflatten(-1, (2, 1)).transpose(1, 2)
    k, v = (t.unsqueeze(1) for t in s.key(x).chunk(2, -1))
    return s.head(F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).flatten(2).mean(1))


def grouped_queries() -> Setting:
    net = Net(grouped, query=nn.Linear(WIDTH, 2), key=nn.Linear(WIDTH, 2), head=nn.Linear(2, 3))
    return Setting(net, nn.CrossEntropyLoss(), draw(N, STEPS, WIDTH), labels())


def queried(s: Any, x: Tensor) -> Tensor:
    """Pooled by a query that is a parameter."""
    return s.head((x * (x @ s.query).softmax(1)[..., None]).sum(1))


LINES = [
    Line("attention, cross-entropy", lambda: pooled(itself, attention=multihead())),
    Line("attention, causal mask, cross-entropy", lambda: pooled(causal, attention=multihead())),
    Line("attention, key padding mask, cross-entropy", lambda: pooled(padded, padding(), attention=multihead())),
    Line(
        "attention, bias_k and zero attention, cross-entropy",
        lambda: pooled(itself, attention=multihead(add_bias_kv=True, add_zero_attn=True)),
    ),
    Line("attention, time first but given samples first, cross-entropy", lambda: time_first(), MEET, only=TOGETHER),
    Line("encoder, padding mask, cross-entropy", encoder),
    Line("encoder, norm first, padding mask, cross-entropy", lambda: encoder(norm_first=True)),
    Line("encoder in eval mode, padding mask, cross-entropy", lambda: encoder(evaluated=True)),
    Line("decoder with a memory, cross-entropy", cross),
    Line("grouped queries, cross-entropy", grouped_queries),
    Line("pooling by a learned query, cross-entropy", lambda: pooled(queried, query=free(WIDTH))),
]


def time_first() -> Setting:
    """Samples attend to each other."""
    found = pooled(itself, attention=nn.MultiheadAttention(WIDTH, 1))
    found.together = True
    return found
