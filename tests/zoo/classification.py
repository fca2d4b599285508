"""Losses of classes, on a perceptron: weights, soft labels, margins, many labels, and what people write by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional as F

from tests.zoo.layers import CLASSES, N, Net, draw, labels, mlp
from tests.zoo.line import NO_LIKELIHOOD, NO_MEAN, Line, Setting, no_second


def classes(loss: Any, y: Tensor | None = None, likelihood: Any = None, tail: nn.Module | None = None) -> Setting:
    net = mlp(3) if tail is None else nn.Sequential(*mlp(3), tail)
    return Setting(net, loss, draw(N, 3), labels() if y is None else y, likelihood)


def weights() -> Tensor:
    return torch.tensor([1.0, 3.0, 0.5])


def soft() -> Tensor:
    return draw(N, CLASSES, seed=4).softmax(1)


def many() -> Tensor:
    return (draw(N, CLASSES, seed=4) > 0).to(torch.get_default_dtype())


def softmax(z: Tensor) -> Categorical:
    return Categorical(logits=z)


def focal(z: Tensor, y: Tensor) -> Tensor:
    """Lin et al. 2017, γ = 2."""
    log_p = -F.cross_entropy(z, y, reduction="none")
    return -((1 - log_p.exp()) ** 2 * log_p).mean()


def weighed(z: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
    """A weight a sample."""
    y, w = target
    return (w * F.cross_entropy(z, y, reduction="none")).mean()


def normalised(z: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
    """The weights of a batch add up to 1: a sample's own loss alone has no weight."""
    y, w = target
    return (w * F.cross_entropy(z, y, reduction="none")).sum() / w.sum()


def with_weights(loss: Any) -> Setting:
    found = classes(loss)
    found.y = (labels(), draw(N, seed=6).exp())
    return found


def ordinal(z: Tensor, y: Tensor) -> Tensor:
    """Cumulative logits: is the class above k?"""
    above = (y.unsqueeze(1) > torch.arange(z.shape[1])).to(z.dtype)
    return F.binary_cross_entropy_with_logits(z, above)


def distilled(z: Tensor, teacher: Tensor) -> Tensor:
    """KL to a teacher's softened labels at temperature 2."""
    return 4 * F.kl_div((z / 2).log_softmax(1), (teacher / 2).log_softmax(1), reduction="batchmean", log_target=True)


def hinge(z: Tensor, y: Tensor) -> Tensor:
    """Crammer and Singer's."""
    other = z.masked_fill(F.one_hot(y, CLASSES).bool(), -torch.inf).amax(1)
    return (1 + other - z.gather(1, y.unsqueeze(1)).squeeze(1)).relu().mean()


def in_closure() -> Setting:
    """Weights of the model's type, whatever the outputs are."""
    weight = weights()
    return classes(lambda z, y: F.cross_entropy(z, y, weight=weight, reduction="none").mean(), likelihood=softmax)


def confident(z: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy less an entropy."""
    p = z.softmax(1)
    return F.cross_entropy(z, y) + 0.1 * (p * p.log()).sum(1).mean()


def dice(z: Tensor, y: Tensor) -> Tensor:
    """Of the batch as a whole: samples meet in a ratio."""
    p = z.sigmoid()
    return 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)


def masked() -> Setting:
    """A class that is never possible."""
    net = Net(lambda s, x: s.head(x).masked_fill(torch.tensor([False, True, False]), -torch.inf), head=nn.Linear(3, 3))
    return Setting(net, nn.CrossEntropyLoss(), draw(N, 3), labels(classes=2) * 2)


def binary(loss: Any, y: Callable[[], Tensor] = many) -> Setting:
    return classes(loss, y())


LINES = [
    Line("perceptron, cross-entropy", lambda: classes(nn.CrossEntropyLoss())),
    Line("perceptron, cross-entropy as a function", lambda: classes(F.cross_entropy, likelihood=softmax)),
    Line("perceptron, class weights", lambda: classes(nn.CrossEntropyLoss(weight=weights()))),
    Line("perceptron, label smoothing", lambda: classes(nn.CrossEntropyLoss(label_smoothing=0.1))),
    Line(
        "perceptron, class weights and label smoothing",
        lambda: classes(nn.CrossEntropyLoss(weight=weights(), label_smoothing=0.1)),
    ),
    Line("perceptron, soft labels", lambda: classes(nn.CrossEntropyLoss(), soft())),
    Line("perceptron, soft labels and class weights", lambda: classes(nn.CrossEntropyLoss(weight=weights()), soft())),
    Line("perceptron, log-softmax and NLL", lambda: classes(nn.NLLLoss(), tail=nn.LogSoftmax(1))),
    Line("perceptron, log-softmax and NLL with class weights", lambda: classes(nn.NLLLoss(weights()), tail=nn.LogSoftmax(1))),
    Line("perceptron, many labels by logits", lambda: binary(nn.BCEWithLogitsLoss())),
    Line("perceptron, many labels with pos_weight", lambda: binary(nn.BCEWithLogitsLoss(pos_weight=weights()))),
    Line("perceptron, many labels with weights", lambda: binary(nn.BCEWithLogitsLoss(weights()))),
    Line(
        "perceptron, sigmoid and binary cross-entropy", lambda: classes(nn.BCELoss(), many(), tail=nn.Sigmoid()), NO_LIKELIHOOD
    ),
    Line("perceptron, soft margins of many labels", lambda: binary(nn.MultiLabelSoftMarginLoss()), NO_LIKELIHOOD),
    Line("perceptron, soft margin", lambda: binary(nn.SoftMarginLoss(), lambda: 2 * many() - 1), NO_LIKELIHOOD),
    Line(
        "perceptron, multi-margin",
        lambda: classes(nn.MultiMarginLoss()),
        NO_LIKELIHOOD | no_second("multi_margin_loss_backward"),
    ),
    Line("perceptron, hinge by hand", lambda: classes(hinge), NO_LIKELIHOOD),
    Line("perceptron, focal", lambda: classes(focal), NO_LIKELIHOOD),
    Line("perceptron, focal with a likelihood", lambda: classes(focal, likelihood=softmax)),
    Line("perceptron, a weight a sample", lambda: with_weights(weighed), NO_LIKELIHOOD),
    Line("perceptron, normalised weights of samples", lambda: with_weights(normalised), NO_LIKELIHOOD | NO_MEAN),
    Line("perceptron, ordinal", lambda: classes(ordinal), NO_LIKELIHOOD),
    Line("perceptron, distillation", lambda: classes(distilled, draw(N, CLASSES, seed=4)), NO_LIKELIHOOD),
    Line(
        "perceptron, KL to soft labels",
        lambda: classes(nn.KLDivLoss(reduction="batchmean"), soft(), tail=nn.LogSoftmax(1)),
        NO_LIKELIHOOD,
    ),
    Line("perceptron, penalty on confidence", lambda: classes(confident, likelihood=softmax)),
    Line("perceptron, class weights in a closure", in_closure),
    Line("perceptron, Dice of the batch", lambda: binary(dice), NO_LIKELIHOOD | NO_MEAN),
    Line("a class masked by −∞, cross-entropy", masked),
]
