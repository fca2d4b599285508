"""Where a run on the toy loss ends, by rules that were fixed before any run was counted.

A run is θ ← θ − lr ∇l(θ + ε*(θ)) with lr and ρ constant, for a given number of steps. Let r be the distance from the
saddle to the nearer minimum. With constant ρ no method but GD converges to a point, so an end is where the second half of
the run keeps: it is *at* a point if the mean of each of its halves is within r/10 of it. The rules apply in this order, and
a run that fits two of them counts as the first.
  left        an iterate or a probe θ + ε* had σ ≤ 0: nothing is clipped.
  saddle      the second half is at the saddle, and all of it within r/2.
  flat        the second half is at the flat minimum, and all of it in its component of {l < l(saddle)};
  sharp       the same of the sharp one. With two minima and one saddle there are two components, parted by the line
              through the saddle across its downhill direction, along which l is lowest at the saddle.
  flat side   all of the second half in the flat minimum's component, where gradient descent would lead to it, but not at it;
  sharp side  the same of the sharp one.
  unsettled   the rest.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cache

import numpy as np

from theory.toy_dynamics import Method, iterates
from theory.toy_loss import CAPTION, ToyLoss, critical_point


class End(IntEnum):
    """Where a run ends: see the rules above."""

    FLAT, SHARP, SADDLE, LEFT, FLAT_SIDE, SHARP_SIDE, UNSETTLED = range(7)

    @property
    def side(self) -> "End":
        """The basin: FLAT_SIDE also for FLAT, SHARP_SIDE also for SHARP."""
        return {End.FLAT: End.FLAT_SIDE, End.SHARP: End.SHARP_SIDE}.get(self, self)


@dataclass(frozen=True)
class Landscape:
    """The minima, the saddle, l there, and the saddle's downhill direction, turned to the flat minimum."""

    flat: np.ndarray
    sharp: np.ndarray
    saddle: np.ndarray
    level: float
    downhill: np.ndarray

    @property
    def reach(self) -> float:
        """The distance from the saddle to the nearer minimum."""
        return min(float(np.linalg.norm(minimum - self.saddle)) for minimum in (self.flat, self.sharp))


@cache
def landscape(loss: ToyLoss) -> Landscape:
    """Raises: ValueError where the constants leave no saddle between two minima."""
    flat, sharp = (critical_point(loss, printed[:2]) for printed in CAPTION.values())
    saddle = critical_point(loss, (0, 22))
    values, vectors = np.linalg.eigh(loss.hessian(saddle))
    lowest = [np.linalg.eigvalsh(loss.hessian(point))[0] for point in (flat, sharp)]
    if not (values[0] < 0 < values[1] and min(lowest) > 0):
        raise ValueError("These constants have no saddle between a flat and a sharp minimum; stay nearer to those of eq. 15.")
    downhill = vectors[:, 0] * np.sign(vectors[:, 0] @ (flat - sharp))
    return Landscape(flat, sharp, saddle, float(loss.look(saddle)[0]), downhill)


def ends(loss: ToyLoss, method: Method, theta: np.ndarray, lr: np.ndarray, rho: np.ndarray, steps: int) -> np.ndarray:
    """Every run's ``End``, (n,), after ``steps`` steps. Raises: ValueError for fewer than four."""
    if steps < 4:
        raise ValueError(f"{steps} steps have no second half to judge by; take at least four.")
    land, quarter, n = landscape(loss), steps // 4, theta.shape[1]
    reach = land.reach
    points = np.stack([land.flat, land.sharp, land.saddle])
    always, sums = np.ones((3, n), bool), np.zeros((2, 2, n))
    for k, iterate in enumerate(iterates(loss, method, theta, lr, rho), start=2 * quarter - steps):
        if k >= 2 * quarter:
            break
        if k < 0:
            continue
        away = iterate.theta - land.saddle[:, None]
        below, side = iterate.value < land.level, land.downhill @ away
        always[0] &= below & (side > 0)
        always[1] &= below & (side < 0)
        always[2] &= np.hypot(*away) < reach / 2
        sums[k // quarter] += iterate.theta
    with np.errstate(all="ignore"):  # runs that left may have overflowed
        gaps = sums / quarter - points[:, None, :, None]
        at = (np.hypot(gaps[:, :, 0], gaps[:, :, 1]) < reach / 10).all(1)
    flat, sharp, saddle = always & at
    rules = {
        End.LEFT: ~iterate.alive,
        End.SADDLE: saddle,
        End.FLAT: flat,
        End.SHARP: sharp,
        End.FLAT_SIDE: always[0],
        End.SHARP_SIDE: always[1],
    }
    return np.select(list(rules.values()), list(rules), End.UNSETTLED)
