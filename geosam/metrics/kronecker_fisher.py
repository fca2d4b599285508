"""The Kronecker-factored Fisher."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..core import Damping, Norm, Relative, check_damping
from ..engines.kfac import KFAC
from ..norms import Kronecker
from ..observation import KroneckerFactors, Metric, Needs, Observation, Remembering, State, as_metric
from ..sampling import Empirical, Exact, MonteCarlo
from .blockwise import product


@dataclass(frozen=True)
class KroneckerFisher(Remembering[Norm], Metric):
    """G = blockdiag(B_l ⊗ A_l) + λI, one block per layer: A_l the mean of aaᵀ over samples and positions, a the layer's input
    with a 1 for its bias, B_l the second moment of the scores in the layer's outputs (KFAC-expand).

    It is the Fisher's own block for a Linear layer where a and the scores are independent, and always for one sample. Damping
    is exact: (B ⊗ A + λI)⁻¹ in the eigenbases of A and B, float64, so that ♭♯ = id; not the heuristic that adds a share of √λ
    to each factor and inverts another matrix (one solve differed by 72 %). sampling: ``Exact()``, ``MonteCarlo(n)``, or
    ``Empirical()``, the data's labels under the training loss. rest: the metric of the parameters that KFAC does not cover, in
    a joint ball with its blocks.
    Needs curvlinops (``pip install 'geosam[kronecker]'``). Covers nn.Linear and nn.Conv2d without groups and padded with zeros,
    with torch's own forward, called once in a forward pass with the samples in the first dimension, under any likelihood and
    for outputs of any shape. Cost: a backward pass per entry of a sample's outputs (Exact), per label draw, or one (Empirical).
    Source: Martens & Grosse 2015; Grosse & Martens 2016; Eschenhagen et al. 2023. Raises: ImportError without curvlinops;
    ValueError for a parameter that KFAC does not cover, λ < 0, λ = 0 where the product is singular, or BatchNorm in training
    mode; TypeError where the loss has no known likelihood.
    """

    damping: Damping = Relative(0.1)
    sampling: Exact | MonteCarlo | Empirical = Exact()
    rest: Metric | None = None

    def __post_init__(self) -> None:
        check_damping(self.damping)
        if not isinstance(self.sampling, Exact | MonteCarlo | Empirical):
            raise TypeError(f"sampling must be Exact(), MonteCarlo(n) or Empirical(), got {self.sampling!r}")
        if self.rest is not None:
            object.__setattr__(self, "rest", as_metric(self.rest, "rest"))

    @property
    def _factors(self) -> KroneckerFactors:
        return KroneckerFactors(KFAC(self.sampling))

    @property
    def needs(self) -> Needs:
        """The factors, and what ``rest`` needs."""
        return self._factors, *(() if self.rest is None else self.rest.needs)

    def step(self, observation: Observation, state: State) -> tuple[Norm, State]:
        """The norm, each factor decomposed once, and the state of ``rest``."""
        bare = observation[self._factors].bare
        if self.rest is None or not bare:
            return self._covered(observation), state
        covered = [i for i in range(len(observation.parameters)) if i not in bare]
        return product(observation, [(covered, replace(self, rest=None), 1.0), (sorted(bare), self.rest, 1.0)], state)

    def _covered(self, observation: Observation) -> Kronecker:
        factors = observation[self._factors]
        if factors.bare:
            names = [name or f"parameter {i}" for i, (name, _) in enumerate(observation.named())]
            listed = "; ".join(f"{names[i]} ({why})" for i, why in factors.bare.items())
            raise ValueError(
                f"KFAC does not cover {listed}. Give these a metric of their own, e.g. "
                "KroneckerFisher(rest=metrics.DiagonalFisher()), or use metrics.BlockDiagonal(metrics.Fisher())."
            )
        return Kronecker(factors.blocks, observation.parameters, self.damping)
