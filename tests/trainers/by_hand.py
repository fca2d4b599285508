"""Two passes and a base step as one would write them without a library: what every trainer's loop has to equal."""

import torch
from torch.nn.functional import cross_entropy

RHO, ETA, DAMPING = 0.1, 0.01, 0.1


def sam(g, *_):
    return [RHO * t / norm(g) for t in g]


def asam(g, parameters, _):
    scales = [p.detach().abs() + ETA if p.dim() > 1 else torch.ones_like(p) for p in parameters]
    scaled = [s * t for s, t in zip(scales, g, strict=True)]
    return [RHO * s * t / norm(scaled) for s, t in zip(scales, scaled, strict=True)]


def fsam(g, *_):
    steep = [t / (DAMPING + 9.0 * t.square()) for t in g]
    return [RHO * t / sum((a * b).sum() for a, b in zip(g, steep, strict=True)).sqrt() for t in steep]


def full_fisher(g, parameters, losses):
    """The dense matrix of the per-sample gradients, one backward pass a sample."""
    rows = torch.stack([flat(torch.autograd.grad(loss, parameters, retain_graph=True)) for loss in losses()])
    dense = rows.T @ rows / len(rows) + DAMPING * torch.eye(rows.shape[1], dtype=rows.dtype)
    steep = torch.linalg.solve(dense, flat(g))
    parts = (RHO * steep / (flat(g) @ steep).sqrt()).split([p.numel() for p in parameters])
    return [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]


def flat(v):
    return torch.cat([t.flatten() for t in v])


def norm(v):
    return flat(v).norm()


def sgd(model, momentum=0.9):
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=momentum)


def train(model, batches, epsilon, *, base=sgd, accumulate=1, max_norm=1.0, autocast=None, scale=1.0):
    """epsilon: (g, parameters, losses of samples) ↦ ε. One ball a micro-batch; the clipped mean gradient is the base's."""
    parameters, base, batches = [p for p in model.parameters() if p.requires_grad], base(model), list(batches)
    for start in range(0, len(batches), accumulate):
        group = batches[start : start + accumulate]
        total = [torch.zeros_like(p) for p in parameters]
        for x, y in group:
            g, losses = gradient(model, parameters, x, y, autocast, scale)
            moved = epsilon(g, parameters, losses)
            before = [p.detach().clone() for p in parameters]
            with torch.no_grad():
                for p, e in zip(parameters, moved, strict=True):
                    p.add_(e)
            sharp, _ = gradient(model, parameters, x, y, autocast, scale)
            with torch.no_grad():
                for p, b, t, s in zip(parameters, before, total, sharp, strict=True):
                    p.copy_(b)
                    t.add_(s / len(group))
        for p, t in zip(parameters, total, strict=True):
            p.grad = t
        torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        base.step()


def gradient(model, parameters, x, y, autocast, scale):
    """The mean loss's gradient, and a function that gives the losses of samples."""
    with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
        logits = model(x)
        loss = cross_entropy(logits, y)
    g = torch.autograd.grad(loss * scale, parameters, retain_graph=True)
    return [t / scale for t in g], lambda: cross_entropy(logits, y, reduction="none")
