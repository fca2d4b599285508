"""Small models and batches that the tests share. All that is random comes from an explicit seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from tests.placement import device

M = TypeVar("M", bound=nn.Module)

CLASSES = 3
FEATURES = 4


def build(make: Callable[[], M], seed: int = 0, dtype: torch.dtype = torch.float32) -> M:
    """A model whose weights depend on the seed alone; the global random stream is left where it was."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        return make().to(device(), dtype)


def draw(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def labels(n: int, classes: int = CLASSES, seed: int = 2) -> Tensor:
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, 6), nn.Tanh(), nn.Linear(6, CLASSES))


def cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 3), nn.Flatten(), nn.Linear(3, CLASSES)
    )


def batch_norm_net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, CLASSES))


def dropout_net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, CLASSES))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.head = nn.GroupNorm(2, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return self.head((x + F.relu(self.norm(self.inner(x)))).mean((2, 3)))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(FEATURES, 2, dim_feedforward=8, dropout=0.0, batch_first=True)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).mean(1))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(FEATURES, 2, batch_first=True), nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(FEATURES, 5, batch_first=True), nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, FEATURES), nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embedding(x).mean(1))


class Tied(nn.Module):
    """One weight in two modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
        self.second.weight = self.first.weight
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Raw(nn.Module):
    """A parameter that belongs to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.head = nn.Parameter(torch.randn(FEATURES)), nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(x * self.gain))


class SecondUse(nn.Module):
    """A layer's weight used once more, behind the layer's back."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.inner(x)) + F.linear(x, self.inner.weight))


class MyLinear(nn.Linear):
    pass


def weight_normed() -> nn.Sequential:
    return nn.Sequential(weight_norm(nn.Linear(FEATURES, 6)), nn.Tanh(), nn.Linear(6, CLASSES))


def layer_normed() -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, CLASSES))


def subclassed() -> nn.Sequential:
    return nn.Sequential(MyLinear(FEATURES, 6), nn.Tanh(), nn.Linear(6, CLASSES))


VECTOR, IMAGE, SEQUENCE = (FEATURES,), (2, 6, 6), (5, FEATURES)

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...] | None]] = {
    "mlp": (mlp, VECTOR),
    "cnn": (cnn, IMAGE),
    "residual, GroupNorm": (Residual, IMAGE),
    "transformer": (Transformer, SEQUENCE),
    "attention": (Attention, SEQUENCE),
    "lstm": (Recurrent, SEQUENCE),
    "embedding": (Words, None),
    "tied": (Tied, VECTOR),
    "raw parameter": (Raw, VECTOR),
    "second use": (SecondUse, VECTOR),
    "weight norm": (weight_normed, VECTOR),
    "LayerNorm": (layer_normed, VECTOR),
    "subclass of Linear": (subclassed, VECTOR),
}
"""Name → (constructor, shape of one input; None stands for five word indices)."""


def network(name: str, n: int = 6, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Tensor, Tensor]:
    """(model, inputs, class labels)."""
    make, shape = NETWORKS[name]
    x = labels(5 * n, 7).reshape(n, 5) if shape is None else draw(n, *shape, dtype=dtype)
    return build(make, dtype=dtype), x, labels(n)


def clones(model: nn.Module) -> list[Tensor]:
    """The parameters' values now."""
    return [p.detach().clone() for p in model.parameters()]


def same(u: list[Tensor], v: list[Tensor]) -> bool:
    """Bit for bit."""
    return len(u) == len(v) and all(torch.equal(a, b) for a, b in zip(u, v, strict=True))


class Closure:
    """The plain PyTorch closure, which counts its calls."""

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor) -> None:
        self.model, self.x, self.y, self.calls = model, x, y, 0
        self.losses: list[Tensor] = []

    def __call__(self) -> Tensor:
        self.calls += 1
        self.model.zero_grad()
        loss = self.loss()
        loss.backward()
        self.losses.append(loss.detach())
        return loss

    def loss(self) -> Tensor:
        return F.cross_entropy(self.model(self.x), self.y)


class Unruly(Closure):
    """A closure that misbehaves: ``acts`` maps the number of a call to what is done after its backward pass."""

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor, acts: dict[int, Callable[[Unruly, Tensor], Tensor | None]]):
        super().__init__(model, x, y)
        self.acts = acts

    def __call__(self) -> Tensor:
        loss = super().__call__()
        act = self.acts.get(self.calls)
        changed = act(self, loss) if act else None
        return loss if changed is None else changed
