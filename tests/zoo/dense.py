"""The matrices G of the metrics at their defaults, from what the oracle knows."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from tests.laws.oracles import damped, filters, kronecker, kronecker_factors
from tests.zoo.oracle import Truth

ETA, RATIO = 0.01, 0.1


def relative(matrix: Tensor) -> Tensor:
    """Damped by a tenth of its mean diagonal; by a tenth where it is 0."""
    return damped(matrix, RATIO * (matrix.diagonal().mean() or 1.0))


def euclidean(truth: Truth) -> Tensor:
    return torch.eye(truth.size, dtype=torch.float64)


def parameter_scaled(truth: Truth) -> Tensor:
    sizes = [p.detach().abs() + ETA if p.dim() > 1 else torch.ones_like(p) for p in truth.theta]
    return torch.cat([s.reshape(-1) for s in sizes]).pow(-2).diag()


def filter_wise(truth: Truth) -> Tensor:
    return torch.cat([filters(p.detach(), ETA, 3).reshape(-1) for p in truth.theta]).pow(-2).diag()


def gradient_magnitude(truth: Truth) -> Tensor:
    return (truth.gradient**2 + 0.01).diag()


def monge(truth: Truth) -> Tensor:
    return euclidean(truth) + torch.outer(truth.gradient, truth.gradient)


def empirical_fisher(truth: Truth) -> Tensor:
    return relative(truth.rows.T @ truth.rows / truth.n)


def diagonal_empirical_fisher(truth: Truth) -> Tensor:
    return relative((truth.rows**2).mean(0).diag())


def fisher(truth: Truth) -> Tensor:
    return relative(truth.fisher)


def diagonal_fisher(truth: Truth) -> Tensor:
    return relative(truth.fisher.diagonal().diag())


def places(truth: Truth) -> list[Tensor]:
    """Where each parameter's entries are in a flat vector."""
    return list(torch.arange(truth.size).split([p.numel() for p in truth.theta]))


def block_diagonal(truth: Truth) -> Tensor:
    """A block a module, each damped by itself."""
    modules: dict[str, list[Tensor]] = {}
    for name, place in zip(truth.names, places(truth), strict=True):
        modules.setdefault(name.rpartition(".")[0], []).append(place)
    whole = torch.zeros(truth.size, truth.size, dtype=torch.float64)
    for parts in modules.values():
        at = torch.cat(parts)
        whole[at[:, None], at] = relative(truth.fisher[at[:, None], at])
    return whole


def kronecker_fisher(truth: Truth, covered: set[int]) -> Tensor:
    """B ⊗ A for the layers of the covered parameters, 1 for the others."""
    position = {id(p): i for i, p in enumerate(truth.theta)}
    at, blocks = places(truth), []
    for layer in truth.model.modules():
        mine = {k: position[id(p)] for k, p in layer._parameters.items() if position.get(id(p)) in covered}
        if mine:
            has = "weight" in mine, "bias" in mine
            B, A = kronecker_factors(truth.n, truth.alone, layer, partial(every_label, truth), *has)
            blocks.append((torch.cat([at[i] for i in mine.values()]), kronecker(B, A, has[1])))
    whole = euclidean(truth)
    if blocks:
        strength = RATIO * torch.cat([block.diagonal() for _, block in blocks]).mean()
        for where, block in blocks:
            whole[where[:, None], where] = damped(block, strength)
    return whole


def every_label(truth: Truth, i: int, outputs: Tensor) -> Tensor:
    """Cotangents whose squares add up to the expectation over labels."""
    values, basis = torch.linalg.eigh(truth.informations[i])
    return (basis * values.clamp_min(0).sqrt()).T
