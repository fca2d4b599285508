"""The pair (D, C) of each SAM variant with an ellipsoid for a ball, for theory/preconditioning.py.

Beside each pair stands the variant's perturbation by its own formula, which the preconditioned form is compared with.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from theory.unit import unit

DECAY = 0.9


@dataclass(frozen=True)
class Instance:
    """rows: (m, n), the gradients so far, g the last; also the per-sample gradients of F. weights: (n,), none zero.

    split: the first layer (a filter; the norm layer) has this many of the n parameters. damping: λ of F and of infoSAM.
    logit: of a coin whose KL is the ball; at 0 it is symmetric, past 4 unbounded.
    """

    rows: np.ndarray
    weights: np.ndarray
    split: int = 1
    damping: float = 1.0
    logit: float = 1.0

    def __post_init__(self) -> None:
        entries = abs(np.append(self.rows, self.weights))
        if not ((entries < 1e30) & ((entries > 1e-30) | (entries == 0))).all():
            raise ValueError("An entry is not finite, or not of a size from 1e-30 to 1e30; rescale.")
        if self.rows.shape[1:] != self.weights.shape:
            raise ValueError(f"Rows of shape {self.rows.shape} do not fit {self.weights.shape} weights; pass (m, n) and (n,).")
        if not self.gradient.any():
            raise ValueError("At g = 0 every perturbation is as good as any other; pass a last row that is not zero.")
        if not self.weights.all():
            raise ValueError("ASAM's 1/|w| has no value at w = 0; pass weights that are not zero.")
        if not 0 < self.split < len(self.weights):
            raise ValueError(f"split = {self.split} leaves a layer without parameters; pass 1 to {len(self.weights) - 1}.")
        if not (1e-30 < self.damping < 1e30 and 0.01 <= abs(self.logit) <= 4):
            raise ValueError("damping must be positive, and logit of a size from 0.01 to 4; pass such.")

    @property
    def gradient(self) -> np.ndarray:
        return self.rows[-1]

    @property
    def layers(self) -> tuple[slice, slice]:
        return slice(0, self.split), slice(self.split, None)

    def spread(self, values: Iterable[float]) -> np.ndarray:
        """One value a layer, for each of its parameters."""
        return np.repeat(np.array(list(values), float), [self.split, len(self.weights) - self.split])

    @property
    def average(self) -> np.ndarray:
        """d ← 0.9 d + 0.1 g over the rows, from the first."""
        found = self.rows[0].astype(float)
        for row in self.rows[1:]:
            found = DECAY * found + (1 - DECAY) * row
        return found

    @property
    def precision(self) -> np.ndarray:
        """1/(b + λ) for b = (m − g)²: infoSAM's D, in the form of the draft."""
        return 1 / ((self.average - self.gradient) ** 2 + self.damping)


def instance(seed: int) -> Instance:
    """1 to 5 Gaussian gradients of 2 to 6 parameters, weights away from zero, a split, damping and logit at random."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 7))
    rows = 10 ** rng.uniform(-1, 1) * rng.normal(size=(int(rng.integers(2, 6)), n))
    weights = rng.choice([-1, 1], n) * 10 ** rng.uniform(-1, 1, n)
    return Instance(rows, weights, int(rng.integers(1, n)), 10 ** rng.uniform(-2, 1), rng.choice([-1, 1]) * rng.uniform(0.3, 3))


def formulas(instance: Instance) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each variant D, applied to all gradients so far; C; and its perturbation at ρ = 1 by its own formula."""
    rows, g, w = instance.rows.astype(float), instance.gradient.astype(float), instance.weights.astype(float)
    m, n = rows.shape
    one, ages = np.eye(n), np.arange(m)[::-1]
    now = np.kron(np.eye(m)[-1], one)  # the last of the stacked gradients
    filters = instance.spread(float(np.linalg.norm(w[part])) for part in instance.layers)
    radii = instance.spread(math.sqrt(len(w[part])) for part in instance.layers)
    fisher = rows.T @ rows / m + instance.damping * one
    diagonal = fisher.diagonal()
    norm = instance.spread((1, 0))
    past = DECAY**ages * np.where(ages == m - 1, 1, 1 - DECAY)
    found = {
        "SAM": (now, one, unit(g)),
        "ASAM": (now, np.diag(1 / abs(w)), abs(w) * unit(abs(w) * g)),
        "filter-wise ASAM": (now, np.diag(1 / filters), filters * unit(filters * g)),
        "a joint ball over layers": (now, np.diag(1 / radii), radii * unit(radii * g)),
        "FSAM, diagonal": (now, np.diag(np.sqrt(diagonal)), unit(g / np.sqrt(diagonal)) / np.sqrt(diagonal)),
        "Monge SAM": (now, np.vstack([one, g]), unit(g) / math.sqrt(1 + g @ g)),
        "SAM on norm layers": (norm[:, None] * now, one, unit(norm * g)),
        "VaSSO": (np.kron(past, one), one, unit(instance.average)),
        "infoSAM": (instance.precision[:, None] * now, one, unit(instance.precision * g)),
    }
    if instance.damping > 1e-10 * fisher.trace():  # else no digit of F⁻¹ is left
        raised = np.linalg.solve(fisher, g)
        found["FSAM, full"] = now, np.linalg.cholesky(fisher).T, raised / math.sqrt(g @ raised)
    return found
