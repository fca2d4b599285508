"""Everything that the study's numbers depend on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from theory.toy_dynamics import METHODS, radius_of_length
from theory.toy_ends import landscape
from theory.toy_loss import AS_PRINTED, OF_THE_FIGURE, ToyLoss

LOSSES: Mapping[str, ToyLoss] = MappingProxyType({"the figure's": OF_THE_FIGURE, "eq. 15 as printed": AS_PRINTED})
OWN, MATCHED = "own radii", "equal first steps"
DESIGNS = (OWN, MATCHED)
NAMES = tuple(METHODS)


def radii(design: str, loss: ToyLoss, theta: np.ndarray, rho: np.ndarray) -> dict[str, np.ndarray]:
    """Each method's radii, (n,), for FSAM's rho.

    own radii: the same rho in each method's own metric; the paper gives none, and equal numbers are our choice. equal first
    steps: those at which the first ε* is as long as FSAM's, in the Euclidean norm. Infinite for KL where FSAM's leaves σ > 0:
    no KL ball has that length.
    """
    if design == OWN:
        return dict.fromkeys(NAMES, rho)
    if design != MATCHED:
        raise ValueError(f"no design '{design}'; choose one of {', '.join(DESIGNS)}")
    g = loss.gradient(theta)
    length = np.hypot(*METHODS["FSAM"](theta, g, rho))
    return {name: rho if name == "FSAM" else radius_of_length(name, theta, g, length) for name in NAMES}


@dataclass(frozen=True)
class Settings:
    """Settings at random: μ, σ and ρ uniform, lr log-uniform. σ starts above the saddle's."""

    mu: tuple[float, float] = (-40.0, 40.0)
    top: float = 60.0
    lr: tuple[float, float] = (30.0, 200.0)
    rho: tuple[float, float] = (0.05, 2.5)
    steps: int = 1000

    def draw(self, loss: ToyLoss, seed: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """θ (2, n), lr and ρ (n,)."""
        rng = np.random.default_rng(seed)
        mu, sigma = rng.uniform(*self.mu, n), rng.uniform(landscape(loss).saddle[1] + 1e-6, self.top, n)
        lr = np.exp(rng.uniform(math.log(self.lr[0]), math.log(self.lr[1]), n))
        return np.stack([mu, sigma]), lr, rng.uniform(*self.rho, n)


SMALL_MU = Settings(mu=(-5.0, 5.0), top=32.0, rho=(0.02, 1.4))  # where figure 3 has ASAM fail


@dataclass(frozen=True)
class Chunk:
    """A job: ``n`` random settings, every method on each."""

    loss: str
    design: str
    seed: int
    n: int
    settings: Settings

    @property
    def title(self) -> str:
        """Loss, design, range of μ and seed."""
        low, high = self.settings.mu
        return f"{self.loss}, {self.design}, μ {low:g} to {high:g}, seed {self.seed}"


@dataclass(frozen=True)
class Map:
    """A job: every method from a grid of starts, at one lr and one ρ in each method's own metric."""

    loss: str
    lr: float
    rho: float
    columns: int
    rows: int
    steps: int
    mu: tuple[float, float] = (-40.0, 40.0)
    sigma: tuple[float, float] = (4.0, 60.0)
    seed: int = 0  # nothing in it is random

    @property
    def title(self) -> str:
        """What is swept."""
        return f"map at lr {self.lr:g}, ρ {self.rho:g}"

    def starts(self) -> np.ndarray:
        """(2, rows · columns), rows from low σ to high."""
        mu, sigma = np.meshgrid(np.linspace(*self.mu, self.columns), np.linspace(*self.sigma, self.rows))
        return np.stack([mu.ravel(), sigma.ravel()])


@dataclass(frozen=True)
class Hunt:
    """A job: over a grid, the setting that lies deepest among those where FSAM and a rival end as wanted.

    figure: 2 or 3. won: FSAM flat and its rival sharp, else the reverse. lrs: the learning rates to search, in this order.
    thin: of the grid every thin-th point only.
    """

    figure: int
    won: bool
    lrs: tuple[float, ...]
    steps: int
    thin: int = 1
    seed: int = 0  # nothing in it is random

    @property
    def rival(self) -> str:
        """SAM in figure 2, ASAM in figure 3."""
        return "SAM" if self.figure == 2 else "ASAM"

    @property
    def title(self) -> str:
        """What is sought."""
        return f"figure {self.figure}, {'as printed' if self.won else 'the reverse'}"


@dataclass(frozen=True)
class Config:
    """seeds: chunks of random settings for each loss and design; settings: how many they have together, and a third of that
    number again with small |μ|.

    grid: starts on a side of a map. thin: see ``Hunt``.
    """

    seeds: int = 12
    settings: int = 27_000
    grid: int = 48
    lrs: tuple[float, ...] = (30.0, 80.0, 200.0)
    rhos: tuple[float, ...] = (0.1, 0.3, 0.6, 1.0, 1.3, 1.6)
    ranges: Settings = Settings()
    small: Settings = SMALL_MU
    thin: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.seeds <= self.settings:
            raise ValueError(f"{self.settings} settings cannot be shared among {self.seeds} seeds: at least one each")
        if self.grid < 4:
            raise ValueError(f"a grid of {self.grid} starts a side shows no map; take at least 4")

    def chunks(self) -> list[Chunk]:
        """The jobs of the counts."""
        n = -(-self.settings // self.seeds)
        pools = ((self.ranges, n), (self.small, -(-n // 3)))
        return [
            Chunk(loss, design, seed, size, ranges)
            for ranges, size in pools
            for loss in LOSSES
            for design in DESIGNS
            for seed in range(self.seeds)
        ]

    def maps(self) -> list[Map]:
        """The jobs of the maps, on the figure's loss."""
        rows = max(3, round(0.7 * self.grid))
        return [Map("the figure's", lr, rho, self.grid, rows, self.ranges.steps) for lr in self.lrs for rho in self.rhos]

    def hunts(self) -> list[Hunt]:
        """The jobs that find the settings of figures 2 and 3."""
        return [Hunt(figure, won, (100.0, 400.0), 400, self.thin) for figure in (2, 3) for won in (True, False)]
