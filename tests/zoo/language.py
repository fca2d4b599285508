"""Language models: token means with padding, tied heads, every option of an embedding."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.layers import N, Net, draw, free, labels
from tests.zoo.line import GRADIENT, NO_LIKELIHOOD, NO_MEAN, ROWS, Line, Setting

WORDS, STEPS, WIDTH = 5, 3, 3
PAD = 0


def words() -> Tensor:
    """Sequences of ragged lengths, padded at their ends."""
    found = labels(N, STEPS, classes=WORDS - 1) + 1
    found[1, 2:] = found[2, 1:] = PAD
    return found


def language(run: Any, loss: Any = None, **parts: Any) -> Setting:
    """Predicts the word itself, which needs no more of a model than the next one does."""
    loss = nn.CrossEntropyLoss(ignore_index=PAD) if loss is None else loss
    return Setting(Net(run, **parts), loss, words(), words())


def window(tied: bool = False, loss: Any = None, **options: Any) -> Setting:
    embedding, head = nn.Embedding(WORDS, WIDTH, **options), nn.Linear(WIDTH, WORDS, bias=not tied)
    if tied:
        head.weight = embedding.weight
    return language(
        lambda s, i: s.head(s.mix(s.embedding(i)).tanh()).transpose(1, 2),
        loss,
        embedding=embedding,
        mix=nn.Linear(WIDTH, WIDTH),
        head=head,
    )


def decoder() -> Setting:
    """A causal block with learned positions and a tied head."""

    def run(s: Any, i: Tensor) -> Tensor:
        h = s.embedding(i) + s.position
        q, k, v = s.qkv(s.norm(h)).chunk(3, -1)
        h = h + F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return F.linear(h + s.out(F.gelu(h)), s.embedding.weight).transpose(1, 2)

    return language(
        run,
        embedding=nn.Embedding(WORDS, WIDTH),
        position=free(STEPS, WIDTH),
        norm=nn.LayerNorm(WIDTH),
        qkv=nn.Linear(WIDTH, 3 * WIDTH),
        out=nn.Linear(WIDTH, WIDTH),
    )


def ragged_mean(z: Tensor, y: Tensor) -> Tensor:
    """A token mean by hand, whose denominator is the batch's."""
    counted = (y != PAD).to(z.dtype)
    return (F.cross_entropy(z, y, reduction="none") * counted).sum() / counted.sum()


def mean_of_means(z: Tensor, y: Tensor) -> Tensor:
    """Each sample's own token mean, averaged."""
    counted = (y != PAD).to(z.dtype)
    return ((F.cross_entropy(z, y, reduction="none") * counted).sum(1) / counted.sum(1)).mean()


def bag(**options: Any) -> Setting:
    net = Net(lambda s, i: s.head(s.bag(i)), bag=nn.EmbeddingBag(WORDS, WIDTH, **options), head=nn.Linear(WIDTH, 3))
    return Setting(net, nn.CrossEntropyLoss(), words(), labels())


def weighted_bag() -> Setting:
    net = Net(
        lambda s, i, w: s.head(s.bag(i, per_sample_weights=w)),
        bag=nn.EmbeddingBag(WORDS, WIDTH, mode="sum"),
        head=nn.Linear(WIDTH, 3),
    )
    return Setting(net, nn.CrossEntropyLoss(), (words(), draw(N, STEPS)), labels())


def smoothed() -> nn.Module:
    return nn.CrossEntropyLoss(ignore_index=PAD, label_smoothing=0.1)


def counted() -> Setting:
    """Its gradient is divided by counts of the whole batch, which is no derivative of anything."""
    found = window(scale_grad_by_freq=True)
    found.together = True
    return found


PRODUCT = "neither forward mode nor reverse mode taken twice gives the adjoint"
BAG = {"Fisher products": PRODUCT, "Fisher by products": PRODUCT, "sharpness": "'_embedding_bag_backward' is not implemented"}

LINES = [
    Line("window, token mean with ignore_index", window),
    Line("window with padding_idx, token mean with ignore_index", lambda: window(padding_idx=PAD)),
    Line("window, tied head, token mean with ignore_index", lambda: window(tied=True)),
    Line("window, tied head and padding_idx, token mean with ignore_index", lambda: window(tied=True, padding_idx=PAD)),
    Line("window, smoothed token mean with ignore_index", lambda: window(loss=smoothed())),
    Line("window, sparse gradients, token mean with ignore_index", lambda: window(sparse=True)),
    Line(
        "window, scale_grad_by_freq, token mean with ignore_index",
        counted,
        {"samples": "scale_grad_by_freq=True divides"},
        only=(*GRADIENT, *ROWS),
    ),
    Line("causal decoder, tied head, token mean with ignore_index", decoder),
    Line("window, token mean by hand over ragged lengths", lambda: window(loss=ragged_mean), NO_LIKELIHOOD | NO_MEAN),
    Line("window, mean of each sample's token mean", lambda: window(loss=mean_of_means), NO_LIKELIHOOD),
    Line("bag of words (mean), cross-entropy", bag, BAG),
    Line("bag of words (maximum), cross-entropy", lambda: bag(mode="max"), BAG),
    Line("bag of words (padding_idx), cross-entropy", lambda: bag(padding_idx=PAD), BAG),
    Line("bag of words (weights), cross-entropy", weighted_bag, BAG),
]
