"""The jobs: random settings, maps, and the hunt for the settings of figures 2 and 3."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.ndimage import distance_transform_cdt

from theory.toy_dynamics import METHODS, side_by_side
from theory.toy_ends import End, ends
from theory.toy_loss import OF_THE_FIGURE, ToyLoss

from .config import LOSSES, MATCHED, NAMES, OWN, Chunk, Hunt, Map, radii
from .result import Ends, Found


def count(job: Chunk) -> Ends:
    """Where every method ends at every setting."""
    loss = LOSSES[job.loss]
    theta, lr, rho = job.settings.draw(loss, job.seed, job.n)
    return _every_method(loss, theta, lr, radii(job.design, loss, theta, rho), job.settings.steps)


def chart(job: Map) -> Ends:
    """Where every method ends from every start of the grid."""
    loss, theta = LOSSES[job.loss], job.starts()
    same = np.ones(theta.shape[1])
    return _every_method(loss, theta, job.lr * same, radii(OWN, loss, theta, job.rho * same), job.steps)


def _every_method(loss: ToyLoss, theta: np.ndarray, lr: np.ndarray, rho: dict[str, np.ndarray], steps: int) -> Ends:
    k = len(NAMES)
    at_once = side_by_side(*METHODS.values())
    found = ends(loss, at_once, np.tile(theta, k), np.tile(lr, k), np.concatenate([rho[name] for name in NAMES]), steps)
    digits = "".join(map(str, found.tolist()))
    n = theta.shape[1]
    return Ends(ends={name: digits[i * n : (i + 1) * n] for i, name in enumerate(NAMES)})


def hunt(job: Hunt) -> Found:
    """The setting deepest inside, under the first reading, protocol and lr by which any setting of the grid will do.

    Deepest: farthest from settings that will not do, for which all beyond the grid's edge are taken. Readings: both methods at
    their minima, else each at its minimum or on its side. Protocols: equal ρ, each in its own metric; equal
    length of the first ε*; a rival's ρ of a tenth. Figure 2: μ in −30 … 0, σ in 22 … 45, ρ in 0.1 … 1.5; figure 3: |μ| ≤ 5.
    """
    grid = np.meshgrid(*axes(job), indexing="ij")
    theta, mine = np.stack([grid[0].ravel(), grid[1].ravel()]), grid[2].ravel()
    rivals = {
        "the same ρ, each in its own metric": radii(OWN, OF_THE_FIGURE, theta, mine)[job.rival],
        "first ε* of the same Euclidean length": radii(MATCHED, OF_THE_FIGURE, theta, mine)[job.rival],
        f"{job.rival} with a tenth of FSAM's ρ": mine / 10,
    }

    def run(name: str, lr: float, rho: np.ndarray) -> np.ndarray:
        return ends(OF_THE_FIGURE, METHODS[name], theta, np.full(mine.size, lr), rho, job.steps)

    found = {lr: run("FSAM", lr, mine) for lr in job.lrs}
    others = {(lr, protocol): run(job.rival, lr, rho) for lr in job.lrs for protocol, rho in rivals.items()}
    wanted = (End.FLAT, End.SHARP) if job.won else (End.SHARP, End.FLAT)
    for strict, protocol, lr in product((True, False), rivals, job.lrs):
        mine_right, rival_right = reached(found[lr], wanted[0], strict), reached(others[lr, protocol], wanted[1], strict)
        hit = (mine_right & rival_right).reshape(grid[0].shape)
        if hit.any():
            break
    depth = distance_transform_cdt(np.pad(hit, 1), "chessboard")[1:-1, 1:-1, 1:-1]
    k = int(depth.argmax())
    start = (float(theta[0, k]), float(theta[1, k]))
    setting = {"start": start, "lr": lr, "rho": float(mine[k]), "rival_rho": float(rivals[protocol][k])}
    return Found(protocol=protocol, strict=strict, depth=int(depth.max()), of=int(hit.sum()), among=hit.size, **setting)


def axes(job: Hunt) -> list[np.ndarray]:
    """The values of μ, σ and FSAM's ρ that a hunt searches."""
    rho = np.arange(1, 16) / 10
    values = [np.arange(-30.0, 1), np.arange(22.0, 46), rho]
    if job.figure == 3:
        values = [np.arange(-20, 1) / 4, np.arange(88, 129) / 4, np.concatenate([np.arange(1, 8) / 80, rho])]
    return [axis[:: job.thin] for axis in values]


def reached(found: np.ndarray, end: End, strict: bool) -> np.ndarray:
    """Which runs end at this minimum, or if not ``strict`` at least on its side."""
    return (found == end) | ((found == end.side) & (not strict))
