"""A small transformer that predicts the next symbol of a text."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SmallTransformer(nn.Module):
    """Symbols [n, length] ↦ logits [n, classes, length], as cross-entropy takes them; a symbol sees those before it only."""

    def __init__(self, length: int, symbols: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        self.position = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, symbols)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x) + self.position
        later = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device, dtype=tokens.dtype)
        for block in self.blocks:
            tokens = block(tokens, src_mask=later)
        return self.head(self.norm(tokens)).transpose(1, 2)


def small_transformer(length: int, symbols: int, width: int = 64, depth: int = 2, heads: int = 4) -> SmallTransformer:
    """Pre-norm blocks with learned positions; about 112 thousand parameters for 64 places of 65 symbols."""
    return SmallTransformer(length, symbols, width, depth, heads)
