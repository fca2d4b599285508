"""What the examples train: a small perceptron, twice over 64 samples."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def network(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def data(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, 6, generator=generator, dtype=torch.float64)
    return TensorDataset(x.to(dtype), (x[:, :3] + 0.5 * x[:, 3:]).argmax(1))


def loader(dtype=torch.float64):
    return DataLoader(data(dtype), batch_size=8)
