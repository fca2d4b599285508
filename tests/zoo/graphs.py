"""Graphs: a sample is a node, or a whole graph in one large graph of the batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.layers import Net, draw, labels
from tests.zoo.line import MEET, Line, Setting

NODES, GRAPHS, WIDTH = 3, 4, 2
EDGES = torch.tensor([[0, 1, 2, 0], [1, 2, 0, 2]])


def sent(h: Tensor, edges: Tensor) -> Tensor:
    """The sum of messages that come to each node."""
    return torch.zeros_like(h).index_add(0, edges[1], h[edges[0]])


def nodes() -> Setting:
    """Every node of one graph is a sample: neighbours meet."""
    edges = torch.cat([EDGES, torch.tensor([[3, 1], [0, 3]])], 1)

    def run(s: Any, x: Tensor) -> Tensor:
        return s.out(sent(s.first(x).tanh(), edges[:, (edges < len(x)).all(0)]))

    net = Net(run, first=nn.Linear(WIDTH, 3), out=nn.Linear(3, 3))
    return Setting(net, nn.CrossEntropyLoss(), draw(4, WIDTH), labels(4), together=True)


def together() -> Setting:
    """Graphs side by side in one: edges are shifted, nodes are summed by the graph they belong to."""

    def run(s: Any, x: Tensor) -> Tensor:
        n = len(x)
        shift = NODES * torch.arange(n)
        edges = (EDGES[:, None] + shift[:, None]).reshape(2, -1)
        h = s.first(x.reshape(n * NODES, WIDTH)).tanh()
        h = s.second(h + sent(h, edges)).tanh()
        owner = torch.arange(n).repeat_interleave(NODES)
        return s.out(h.new_zeros(n, 2).index_add(0, owner, h))

    net = Net(run, first=nn.Linear(WIDTH, 2), second=nn.Linear(2, 2), out=nn.Linear(2, 3))
    return Setting(net, nn.CrossEntropyLoss(), draw(GRAPHS, NODES, WIDTH), labels(GRAPHS))


def scattered() -> Setting:
    """The nodes of all graphs in another order, pooled by scatter_reduce."""

    def run(s: Any, x: Tensor) -> Tensor:
        n = len(x)
        owner = torch.arange(n).repeat(NODES)
        h = s.first(x.transpose(0, 1).reshape(-1, WIDTH)).tanh()
        pooled = h.new_zeros(n, 3).scatter_reduce(0, owner[:, None].expand(-1, 3), h, "mean", include_self=False)
        return s.out(pooled)

    net = Net(run, first=nn.Linear(WIDTH, 3), out=nn.Linear(3, 3))
    return Setting(net, nn.CrossEntropyLoss(), draw(GRAPHS, NODES, WIDTH), labels(GRAPHS))


def adjacency() -> Setting:
    """Each graph with its own matrix."""
    net = Net(lambda s, x, a: s.out((a @ s.first(x)).tanh().sum(1)), first=nn.Linear(WIDTH, 3), out=nn.Linear(3, 3))
    inputs = draw(GRAPHS, NODES, WIDTH), draw(GRAPHS, NODES, NODES, seed=5).softmax(2)
    return Setting(net, nn.CrossEntropyLoss(), inputs, labels(GRAPHS))


def attended() -> Setting:
    """Attention over neighbours, masked by the adjacency."""

    def run(s: Any, x: Tensor, a: Tensor) -> Tensor:
        h = s.first(x)
        scores = (h @ s.left(h).transpose(1, 2)).masked_fill(~a, -torch.inf)
        return s.out((scores.softmax(2) @ h).tanh().mean(1))

    near = torch.eye(NODES, dtype=torch.bool) | (draw(GRAPHS, NODES, NODES, seed=5) > 0)
    net = Net(run, first=nn.Linear(WIDTH, 2), left=nn.Linear(2, 2), out=nn.Linear(2, 3))
    return Setting(net, nn.CrossEntropyLoss(), (draw(GRAPHS, NODES, WIDTH), near), labels(GRAPHS))


LINES = [
    Line("graph network, nodes of one graph as samples, cross-entropy", nodes, MEET),
    Line("graph network, a batch of graphs in one, cross-entropy", together),
    Line("graph network, nodes scattered to their graphs, cross-entropy", scattered),
    Line("graph network, a matrix a graph, cross-entropy", adjacency),
    Line("graph network, attention over neighbours, cross-entropy", attended),
]
