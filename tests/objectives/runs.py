"""Runs of an objective over gradients."""

import torch

import geosam


def seen(g, scale=1.0):
    g = [t * scale for t in g]
    return geosam.Observation([torch.zeros_like(t) for t in g], g, torch.ones((), dtype=g[0].dtype))


def run(objective, gradients, scale=1.0):
    """(the last covector, the last state) of steps with these gradients."""
    state = {}
    for g in gradients:
        c, state = objective.step(seen(g, scale), state)
    return list(c), state


def flat(v):
    return torch.cat([t.double().reshape(-1) for t in v])


def same_tensors(u, v):
    flat_u, flat_v = (torch.utils._pytree.tree_leaves(w) for w in (u, v))
    return len(flat_u) == len(flat_v) and all(torch.equal(a, b) for a, b in zip(flat_u, flat_v, strict=True))
