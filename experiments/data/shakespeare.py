"""Tiny Shakespeare: a million symbols of plays, cut into windows."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from .folder import folder, missing
from .split import Split

FILE = "tinyshakespeare.txt"
ADDRESS = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"


@cache
def shakespeare(length: int = 64, test_part: float = 0.1) -> Split:
    """Symbols [n, length] and, one place on, those to predict; int64 below 65. The last part of the text is the test."""
    path = folder() / FILE
    if not path.exists():
        raise missing("tiny Shakespeare", f"curl -o {path} {ADDRESS}", FILE)
    text = path.read_text()
    index = {symbol: i for i, symbol in enumerate(sorted(set(text)))}
    symbols = torch.tensor([index[symbol] for symbol in text])
    cut = round(len(symbols) * (1 - test_part))
    return Split(*_windows(symbols[:cut], length), *_windows(symbols[cut:], length))


def _windows(symbols: Tensor, length: int) -> tuple[Tensor, Tensor]:
    count = (len(symbols) - 1) // length
    return symbols[: count * length].view(count, length), symbols[1 : count * length + 1].view(count, length)
