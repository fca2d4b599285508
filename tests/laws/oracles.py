"""The geometries by definition: dense matrices in float64, from one backward pass a sample and one loop a sum."""

import copy

import torch
from torch import nn

from geosam.damping import Relative


def twin(bound):
    """Model, inputs and targets in float64."""
    y = bound.y.double() if bound.y.is_floating_point() else bound.y
    return copy.deepcopy(bound.model).double(), bound.x.double(), y


def flat_gradient(scalar, model):
    gradient = torch.autograd.grad(scalar, list(model.parameters()), retain_graph=True, allow_unused=True)
    pairs = zip(gradient, model.parameters(), strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1) for g, p in pairs])


def parameters(bound):
    return torch.cat([p.detach().double().reshape(-1) for p in bound.model.parameters()])


def gradient(bound):
    model, x, y = twin(bound)
    return flat_gradient(bound.loss(model(x), y), model)


def jacobian(bound):
    """Row i: the gradient of the loss of sample i alone."""
    model, x, y = twin(bound)
    return torch.stack([flat_gradient(bound.loss(model(x[i : i + 1]), y[i : i + 1]), model) for i in range(bound.n)])


def damped(matrix, damping):
    strength = damping.ratio * matrix.diagonal().mean() if isinstance(damping, Relative) else damping
    return matrix + strength * torch.eye(len(matrix), dtype=torch.float64)


def euclidean(bound):
    return torch.eye(len(parameters(bound)), dtype=torch.float64)


def parameter_scaled(eta, least_dimensions):
    def dense(bound):
        parts = [
            (p.detach().double().abs() + eta) ** -2 if p.dim() >= least_dimensions else torch.ones_like(p.detach().double())
            for p in bound.model.parameters()
        ]
        return torch.cat([part.reshape(-1) for part in parts]).diag()

    return dense


def gradient_magnitude(eta, damping):
    return lambda bound: damped((eta * gradient(bound) ** 2).diag(), damping)


def diagonal_empirical_fisher(damping):
    return lambda bound: damped((jacobian(bound) ** 2).mean(0).diag(), damping)


def empirical_fisher(damping):
    def dense(bound):
        rows = jacobian(bound)
        return damped(rows.T @ rows / len(rows), damping)

    return dense


def monge(bound):
    g = gradient(bound)
    return torch.eye(len(g), dtype=torch.float64) + torch.outer(g, g)


def _output_information(loss, z):
    """The Fisher information of one sample's distribution with respect to its outputs z, divided as the loss averages."""
    if isinstance(loss, nn.CrossEntropyLoss):
        p = z.softmax(0)
        return p.diag() - torch.outer(p, p)
    if isinstance(loss, nn.BCEWithLogitsLoss):
        p = z.sigmoid()
        return (p * (1 - p)).diag() / len(z)
    return 2 * torch.eye(len(z), dtype=torch.float64) / len(z)


def fisher(damping):
    def dense(bound):
        model, x, _ = twin(bound)
        total = 0.0
        for i in range(bound.n):
            z = model(x[i : i + 1])[0]
            rows = torch.stack([flat_gradient(entry, model) for entry in z])
            total = total + rows.T @ _output_information(bound.loss, z.detach()) @ rows
        return damped(total / bound.n, damping)

    return dense


def blockwise(first, rest, weights):
    """The first parameter in one block and the others in another, from functions of each block's rows."""

    def dense(bound):
        size = next(bound.model.parameters()).numel()
        whole = [part(bound) for part in (first, rest)]
        blocks = [whole[0][:size, :size] / weights[0] ** 2, whole[1][size:, size:] / weights[1] ** 2]
        return torch.block_diag(*blocks)

    return dense


def kl(bound):
    """ε ↦ E_x KL(p_{θ+ε} ‖ p_θ), written out for each likelihood."""

    def definition(epsilon):
        model, x, _ = twin(bound)
        with torch.no_grad():
            old = model(x)
            for p, e in zip(model.parameters(), epsilon, strict=True):
                p += e.double()
            new = model(x)
        if isinstance(bound.loss, nn.CrossEntropyLoss):
            p, logp, logq = new.softmax(1), new.log_softmax(1), old.log_softmax(1)
            return (p * (logp - logq)).sum(1).mean()
        if isinstance(bound.loss, nn.BCEWithLogitsLoss):
            p, sigmoid = new.sigmoid(), nn.functional.logsigmoid
            return (p * (sigmoid(new) - sigmoid(old)) + (1 - p) * (sigmoid(-new) - sigmoid(-old))).mean()
        return (new - old).square().mean()  # N(f, ½): (f − f')²/(2 · ½)

    return definition
