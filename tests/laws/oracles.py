"""The geometries by definition: dense matrices in float64, from one backward pass a sample and one loop a sum."""

import copy
import functools

import torch
from torch import nn

from geosam.core import Relative


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


def _scaled(bound, size):
    """diag(size⁻²), where size(p) has p's shape."""
    return torch.cat([size(p.detach().double()).reshape(-1) for p in bound.model.parameters()]).pow(-2).diag()


def filters(p, eta, least_dimensions):
    """One number a filter p[j] of a tensor with so many dimensions, |w| + η on another matrix, 1 on the rest."""
    if p.dim() < 2:
        return torch.ones_like(p)
    if p.dim() < least_dimensions:
        return p.abs() + eta
    return torch.stack([torch.full_like(f, float(f.square().sum().sqrt()) + eta) for f in p])


def filter_wise(eta, least_dimensions):
    return lambda bound: _scaled(bound, lambda p: filters(p, eta, least_dimensions))


def layer_wise(eta):
    return lambda bound: _scaled(
        bound, lambda p: torch.full_like(p, float(p.square().sum().sqrt()) + eta) if p.dim() > 1 else torch.ones_like(p)
    )


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
    """The Fisher information of one sample's distribution with respect to its outputs z, flat, divided as the loss averages."""
    if isinstance(loss, nn.CrossEntropyLoss):
        p = z.softmax(0).reshape(len(z), -1)
        places = torch.diag_embed(p.T) - torch.einsum("ar,br->rab", p, p)
        whole = torch.zeros(*p.shape, *p.shape, dtype=torch.float64)
        for r, block in enumerate(places):
            whole[:, r, :, r] = block
        return whole.reshape(p.numel(), p.numel()) / p.shape[1]
    if isinstance(loss, nn.BCEWithLogitsLoss):
        p = z.sigmoid().flatten()
        return (p * (1 - p)).diag() / len(p)
    return 2 * torch.eye(z.numel(), dtype=torch.float64) / z.numel()


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


def on_matrices(dense):
    """The principal part of the parameters with two dimensions or more, and 1 for the rest."""

    def part(bound):
        of_matrix = torch.cat([torch.full((p.numel(),), p.dim() > 1) for p in bound.model.parameters()])
        return torch.where(torch.outer(of_matrix, of_matrix), dense(bound), torch.eye(len(of_matrix), dtype=torch.float64))

    return part


def kl(bound):
    """ε ↦ E_x KL(p_{θ+ε} ‖ p_θ), written out for each likelihood."""

    model, x, _ = twin(bound)
    theta = {name: p.detach() for name, p in model.named_parameters()}
    with torch.no_grad():
        old = model(x)

    def definition(epsilon):
        moved = {name: p + e.double() for (name, p), e in zip(theta.items(), epsilon, strict=True)}
        with torch.no_grad():
            new = torch.func.functional_call(model, moved, (x,))
        if isinstance(bound.loss, nn.CrossEntropyLoss):
            p, logp, logq = new.softmax(1), new.log_softmax(1), old.log_softmax(1)
            return (p * (logp - logq)).sum(1).mean()
        if isinstance(bound.loss, nn.BCEWithLogitsLoss):
            p, sigmoid = new.sigmoid(), nn.functional.logsigmoid
            return (p * (sigmoid(new) - sigmoid(old)) + (1 - p) * (sigmoid(-new) - sigmoid(-old))).mean()
        return (new - old).square().mean()  # N(f, ½): (f − f')²/(2 · ½)

    return definition


def diagonal_fisher(damping):
    return lambda bound: damped(fisher(0.0)(bound).diagonal().diag(), damping)


def drawn_fisher(damping, labels):
    """The Fisher of class labels that were drawn, ``labels(probabilities)`` of shape [K, n]: a mean over draws and samples."""

    def dense(bound):
        model, x, _ = twin(bound)
        with torch.no_grad():
            drawn = labels(model(x).softmax(1))
        rows = [
            flat_gradient(nn.functional.cross_entropy(model(x[i : i + 1]), k[i : i + 1]), model)
            for k in drawn
            for i in range(bound.n)
        ]
        return damped(torch.stack(rows).T @ torch.stack(rows) / len(rows), damping)

    return dense


def by_module(dense, damping):
    """The entries between modules set to 0; relative damping by each block's own mean."""

    def blocks(bound):
        whole, names = dense(bound), [(name.rpartition(".")[0], p.numel()) for name, p in bound.model.named_parameters()]
        sizes = {}
        for module, size in names:
            sizes[module] = sizes.get(module, 0) + size
        found, start = [], 0
        for size in sizes.values():
            found.append(damped(whole[start : start + size, start : start + size], damping))
            start += size
        return torch.block_diag(*found)

    return blocks


def _patches(layer, a, weight, bias):
    """[positions, width] of one sample's input to a layer, with a 1 for the bias."""
    if isinstance(layer, nn.Conv2d):
        a = nn.functional.pad(a, layer._reversed_padding_repeated_twice)
        a = nn.functional.unfold(a, layer.kernel_size, layer.dilation, 0, layer.stride)[0].T
    a = a.reshape(-1, a.shape[-1])
    return torch.cat([a[:, : a.shape[1] * weight], a.new_ones(len(a), int(bias))], 1)


def every_label(bound, i, outputs):
    """Cotangents whose squares add up to the expectation over labels."""
    values, basis = torch.linalg.eigh(_output_information(bound.loss, outputs.detach()))
    return (basis * values.clamp_min(0).sqrt()).T


def the_data_s_label(bound, i, outputs):
    """The slope of sample i's own loss."""
    z = outputs.detach().requires_grad_()
    _, _, y = twin(bound)
    return torch.autograd.grad(bound.loss(z.unsqueeze(0), y[i : i + 1]), z)[0].reshape(1, -1)


def these_labels(drawn):
    """Classes that were drawn, [K, n]: the mean over K."""

    def cotangents(bound, i, outputs):
        rows = [outputs.detach().softmax(0) - torch.eye(len(outputs), dtype=torch.float64)[k] for k in drawn[:, i]]
        return torch.stack(rows) / len(rows) ** 0.5

    return cotangents


def kronecker_factors(n, alone, layer, cotangents, weight=True, bias=True):
    """(B, A) of one layer, sample by sample, ``alone(i)`` its outputs, and cotangent by cotangent, ``cotangents(i, outputs)``.

    weight, bias: whether the block is of these parameters.
    """
    seen = {}

    def watch(m, inputs, output):
        seen.update(a=inputs[0].detach().clone(), z=output)
        return output.clone()  # what comes may write to it

    handle = layer.register_forward_hook(watch)
    A, B, positions = 0.0, 0.0, 1
    for i in range(n):
        outputs = alone(i)
        a, z = _patches(layer, seen["a"], weight, bias), seen["z"]
        A, positions = A + a.T @ a, len(a)
        for u in cotangents(i, outputs):
            (delta,) = torch.autograd.grad(outputs.flatten() @ u, z, retain_graph=True)
            delta = (
                delta[0].reshape(len(delta[0]), -1) if isinstance(layer, nn.Conv2d) else delta.reshape(-1, delta.shape[-1]).T
            )
            B = B + delta @ delta.T
    handle.remove()
    return B / n, A / (n * positions)


def kronecker(B, A, bias=True):
    """kron(B, A) with the weight's entries before the bias's."""
    o, width = len(B), len(A)
    order = [i * width + j for i in range(o) for j in range(width - bias)]
    order += [i * width + width - 1 for i in range(o) if bias]
    return torch.kron(B, A)[order][:, order]


def kronecker_fisher(damping, cotangents=every_label):
    """KFAC by definition, and 1 for the parameters of other layers."""

    def dense(bound):
        model, x, _ = twin(bound)
        layers = [m for m in model.modules() if list(m.parameters(recurse=False))]
        covered = [isinstance(m, (nn.Linear, nn.Conv2d)) for m in layers]

        def alone(i):
            return model(x[i : i + 1])[0]

        own = functools.partial(cotangents, bound)
        factors = [kronecker_factors(bound.n, alone, m, own) for m, c in zip(layers, covered, strict=True) if c]
        blocks = [kronecker(B, A) for B, A in factors]
        strength = damping
        if isinstance(damping, Relative):
            strength = damping.ratio * torch.cat([block.diagonal() for block in blocks]).mean()
        found, rest = [], iter(blocks)
        for m, c in zip(layers, covered, strict=True):
            size = sum(p.numel() for p in m.parameters(recurse=False))
            found.append(damped(next(rest), strength) if c else torch.eye(size, dtype=torch.float64))
        return torch.block_diag(*found)

    return dense
