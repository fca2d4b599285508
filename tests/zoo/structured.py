"""Losses of sequences, of pairs, of the model itself: CTC, triplets, VAE, contrastive, physics, penalties."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional as F

from tests.zoo.layers import N, Net, draw, free, labels, mlp
from tests.zoo.line import NO_LIKELIHOOD, NO_MEAN, ROWS, Line, Setting, no_second

STEPS = 4


def ctc(z: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
    """z [n, time, class]. reduction='mean' divides each sample by its own length first."""
    y, lengths = target
    return F.ctc_loss(z.log_softmax(2).transpose(0, 1), y, torch.full((len(z),), STEPS), lengths)


def speech() -> Setting:
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3))
    return Setting(net, ctc, draw(N, STEPS, 2), (labels(N, 2, classes=2) + 1, torch.tensor([2, 1, 2, 1])))


def triplet() -> Setting:
    net = Net(lambda s, a, p, n: tuple(s.body(t) for t in (a, p, n)), body=mlp(3, 2))
    loss = nn.TripletMarginLoss(margin=2.0)
    return Setting(net, lambda z, y: loss(*z), (draw(N, 3), draw(N, 3, seed=4), draw(N, 3, seed=5)), None)


def siamese(loss: Any) -> Setting:
    net = Net(lambda s, a, b: (s.body(a), s.body(b)), body=mlp(3, 2))
    y = 2 * labels(classes=2) - 1
    return Setting(net, lambda z, y: loss(*z, y), (draw(N, 3), draw(N, 3, seed=4)), y)


def vae() -> Setting:
    """The noise is an input, so that samples keep theirs."""

    def run(s: Any, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, spread = s.encoder(x).chunk(2, 1)
        return s.decoder(mean + noise * (spread / 2).exp()), mean, spread

    def loss(z: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
        made, mean, spread = z
        return ((made - x).square().sum(1) + 0.5 * (mean.square() + spread.exp() - spread - 1).sum(1)).mean()

    x = draw(N, 3)
    return Setting(Net(run, encoder=mlp(3, 4, 3), decoder=mlp(2, 3, 3)), loss, (x, draw(N, 2, seed=4)), x)


def contrastive(z: Tensor, y: Tensor) -> Tensor:
    """Each sample against the batch."""
    z = F.normalize(z, dim=1)
    return F.cross_entropy(z @ y.T / 0.5, torch.arange(len(z)))


def info_nce() -> Setting:
    return Setting(mlp(3, 2), contrastive, draw(N, 3), F.normalize(draw(N, 2, seed=4), dim=1))


def decorrelated(z: Tensor, y: Tensor) -> Tensor:
    """Covariances over the batch."""
    h = z - z.mean(0)
    return (h.T @ h / len(z) - torch.eye(z.shape[1], dtype=z.dtype)).square().sum()


def wave(net: nn.Module, x: Tensor) -> Tensor:
    """u″ + u by autograd."""
    x = x.detach().requires_grad_()
    u = net(x)
    (first,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
    return second + u


def physics() -> Setting:
    """The loss calls the model at points of its own."""
    net = mlp(1, 1, 4)
    points = draw(3, 1, seed=7)
    return Setting(net, lambda z, y: F.mse_loss(z, y) + 0.3 * wave(net, points).square().mean(), draw(N, 1), draw(N, 1, seed=4))


def residual() -> Setting:
    """The equation's residual as the output: derivatives by x inside the model."""
    net = Net(lambda s, x: wave(s.body, x), body=mlp(1, 1, 4))
    return Setting(net, nn.MSELoss(), draw(N, 1), torch.zeros(N, 1))


def penalised(likelihood: Any = None) -> Setting:
    """Weight decay in the loss."""
    net = mlp(3)
    loss = lambda z, y: F.cross_entropy(z, y) + 0.5 * sum(p.square().sum() for p in net.parameters())  # noqa: E731
    return Setting(net, loss, draw(N, 3), labels(), likelihood)


class Uncertain(nn.Module):
    """Two tasks weighed by a parameter of the loss's own (Kendall et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.spread = nn.Parameter(torch.tensor([0.1, -0.2]))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return ((z - y).square().mean(0) * (-self.spread).exp() + self.spread).sum()


class Centres(nn.Module):
    """Distances to centres that the loss owns."""

    def __init__(self) -> None:
        super().__init__()
        self.centres = free(3, 2)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return (z - self.centres[y]).square().sum(1).mean()


def inside() -> Setting:
    """The model computes its loss."""
    net = Net(lambda s, x, y: F.cross_entropy(s.body(x), y), body=mlp(3))
    found = Setting(net, lambda z, y: z, (draw(N, 3), labels()), None)
    found.together = True
    return found


def inside_each() -> Setting:
    """The model computes each sample's loss."""
    net = Net(lambda s, x, y: F.cross_entropy(s.body(x), y, reduction="none"), body=mlp(3))
    return Setting(net, lambda z, y: z.mean(), (draw(N, 3), labels()), None)


def softmax(z: Tensor) -> Categorical:
    return Categorical(logits=z)


READS = dict.fromkeys((*ROWS, "DiagonalFisher", "KLExact"), "the loss reads parameters itself")
READS_ONLY = NO_LIKELIHOOD | {"samples": "the loss reads parameters itself"}

LINES = [
    Line("speech, CTC", speech, NO_LIKELIHOOD | no_second("_ctc_loss_backward")),
    Line("three branches, triplets", triplet, NO_LIKELIHOOD),
    Line("two branches, cosine embedding", lambda: siamese(nn.CosineEmbeddingLoss(margin=0.1)), NO_LIKELIHOOD),
    Line(
        "two branches, margin ranking",
        lambda: siamese(lambda a, b, y: F.margin_ranking_loss(a[:, 0], b[:, 0], y, margin=1.0)),
        NO_LIKELIHOOD,
    ),
    Line("VAE, evidence lower bound", vae, NO_LIKELIHOOD),
    Line("perceptron, contrastive", info_nce, NO_LIKELIHOOD | NO_MEAN),
    Line("perceptron, decorrelation", lambda: Setting(mlp(3, 2), decorrelated, draw(N, 3), draw(N)), NO_LIKELIHOOD | NO_MEAN),
    Line("perceptron, a loss that calls the model (physics-informed)", physics, NO_LIKELIHOOD),
    Line("derivatives inside the model, squared error", residual),
    Line("perceptron, a penalty on its parameters", penalised, READS_ONLY),
    Line("perceptron, a penalty on its parameters, with a likelihood", lambda: penalised(softmax), READS),
    Line(
        "perceptron, a loss that owns parameters",
        lambda: Setting(mlp(3, 2), Uncertain(), draw(N, 3), draw(N, 2, seed=4)),
        NO_LIKELIHOOD,
    ),
    Line("perceptron, centres that the loss owns", lambda: Setting(mlp(3, 2), Centres(), draw(N, 3), labels()), NO_LIKELIHOOD),
    Line("the loss inside the model", inside, NO_LIKELIHOOD),
    Line("the loss of each sample inside the model", inside_each, NO_LIKELIHOOD),
]
