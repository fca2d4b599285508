"""Recurrent networks: every cell, both directions, both layouts, packed sequences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.zoo.layers import N, Net, draw, labels
from tests.zoo.line import Line, Setting

STEPS, WIDTH, HIDDEN = 3, 2, 2
LENGTHS = torch.tensor([3, 2, 1, 3])


def sequences(net: nn.Module) -> Setting:
    """Classes of whole sequences."""
    return Setting(net, nn.CrossEntropyLoss(), draw(N, STEPS, WIDTH), labels())


def last(cell: Any, **options: Any) -> Setting:
    wide = HIDDEN * (2 if options.get("bidirectional") else 1)
    wide = options.get("proj_size", wide)
    options = {"batch_first": True, **options}

    def run(s: Any, x: Tensor) -> Tensor:
        return s.head(s.cell(x)[0][:, -1])

    def time_first(s: Any, x: Tensor) -> Tensor:
        return s.head(s.cell(x.transpose(0, 1))[0][-1])

    made = cell(WIDTH, HIDDEN, **options)
    return sequences(Net(run if options["batch_first"] else time_first, cell=made, head=nn.Linear(wide, 3)))


def stepwise() -> Setting:
    def run(s: Any, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), HIDDEN)
        for step in x.unbind(1):
            h = s.cell(step, h)
        return s.head(h)

    return sequences(Net(run, cell=nn.GRUCell(WIDTH, HIDDEN), head=nn.Linear(HIDDEN, 3)))


def tagged() -> Setting:
    def run(s: Any, x: Tensor) -> Tensor:
        return s.head(s.cell(x)[0]).transpose(1, 2)

    net = Net(run, cell=nn.LSTM(WIDTH, HIDDEN, batch_first=True), head=nn.Linear(HIDDEN, 3))
    y = labels(N, STEPS)
    y[torch.arange(STEPS) >= LENGTHS[:, None]] = -100
    return Setting(net, nn.CrossEntropyLoss(), draw(N, STEPS, WIDTH), y)


def packed(cell: Any) -> Setting:
    """Sorted by length inside, and back."""

    def run(s: Any, x: Tensor, lengths: Tensor) -> Tensor:
        together = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return s.head(pad_packed_sequence(s.cell(together)[0], batch_first=True, total_length=STEPS)[0].mean(1))

    net = Net(run, cell=cell(WIDTH, HIDDEN, batch_first=True), head=nn.Linear(HIDDEN, 3))
    return Setting(net, nn.CrossEntropyLoss(), (draw(N, STEPS, WIDTH), LENGTHS), labels())


def gathered() -> Setting:
    """The state at each sequence's own end."""

    def run(s: Any, x: Tensor, lengths: Tensor) -> Tensor:
        return s.head(s.cell(x)[0][torch.arange(len(x)), lengths - 1])

    net = Net(run, cell=nn.GRU(WIDTH, HIDDEN, batch_first=True), head=nn.Linear(HIDDEN, 3))
    return Setting(net, nn.CrossEntropyLoss(), (draw(N, STEPS, WIDTH), LENGTHS), labels())


LINES = [
    Line("RNN, cross-entropy", lambda: last(nn.RNN)),
    Line("RNN with ReLU, time first inside, cross-entropy", lambda: last(nn.RNN, nonlinearity="relu", batch_first=False)),
    Line("LSTM, cross-entropy", lambda: last(nn.LSTM)),
    Line("LSTM, projected, cross-entropy", lambda: last(nn.LSTM, proj_size=1)),
    Line("LSTM, bidirectional, cross-entropy", lambda: last(nn.LSTM, bidirectional=True)),
    Line("GRU of two layers, time first inside, cross-entropy", lambda: last(nn.GRU, num_layers=2, batch_first=False)),
    Line("GRU cell in a loop, cross-entropy", stepwise),
    Line("LSTM tagger, token mean with ignore_index", tagged),
    Line("GRU, the state at each length, cross-entropy", gathered),
    Line("GRU, packed, cross-entropy", lambda: packed(nn.GRU)),
    Line("LSTM, packed, cross-entropy", lambda: packed(nn.LSTM)),
]
