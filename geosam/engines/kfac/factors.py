"""Kronecker factors from curvlinops. The only importer of curvlinops, which is an optional extra."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...core import Vectors, extra, limits
from ...norms import Factor, Factors
from ...problem import Bound
from ...problem.functional import without_reentrant
from ...problem.gradient import refuse_hooks
from ...problem.information import check_scores
from ...problem.modules import refuse_coupled_samples
from ...problem.randomness import Replay
from ...sampling import Empirical, Exact, MonteCarlo
from ..schedule import Record
from ..widened import in_float64, unwrapped
from .apart import check_apart
from .coverage import uncovered, watched


@dataclass(frozen=True)
class KFAC:
    """KFAC-expand: A is the mean of aaᵀ over samples and positions, B the mean over samples of the sum of δδᵀ over positions.

    δ: a cotangent u of the outputs, pulled back to the layer's; B is a mean over the u of ``sampling``, so that any likelihood
    and any shape of outputs is allowed; for Empirical u = ∂ℓᵢ/∂zᵢ. Weight and bias of a layer share a block, a then ends in 1.
    Runs on a private twin of the model, which shares the parameters, and again in float64 where factors leave float32's range.
    """

    sampling: Exact | MonteCarlo | Empirical

    def looking(self) -> AbstractContextManager[None]:
        """As ``sampling.looking``."""
        return self.sampling.looking() if isinstance(self.sampling, MonteCarlo) else nullcontext()

    @without_reentrant()
    def factors(self, bound: Bound, parameters: Vectors, replay: Replay) -> Factors:
        """Of the Fisher matrix, divided by n only."""
        operator = _operator_class()
        refuse_coupled_samples(bound.model)
        refuse_hooks(bound, parameters)
        bare = uncovered(bound, parameters)
        covered = [i for i in range(len(parameters)) if i not in bare]
        record = Record.of(self, bound, parameters)
        if covered and record.due(bound):
            with replay:
                check_apart(bound, [parameters[i] for i in covered])
            record.passes(True)
        seed = self.sampling.seed() if isinstance(self.sampling, MonteCarlo) else 0
        blocks = self._blocks(operator, bound, parameters, covered, seed, replay) if covered else []
        if any(not limits.fits(t.abs().amax()) for block in blocks for t in (block.outer, block.inner)):
            wide = in_float64(bound, parameters)
            blocks = self._blocks(operator, wide, wide.parameters, covered, seed, replay)
        return Factors(blocks, bare)

    def _blocks(
        self, operator: Any, bound: Bound, parameters: Vectors, covered: list[int], seed: int, replay: Replay
    ) -> list[Factor]:
        scores = _Scores(bound, self._cotangents(bound, seed))
        kfac = scores.kfac = operator(
            scores,
            nn.MSELoss(),
            [parameters[i] for i in covered],
            [(parameters[0].new_empty(bound.n), parameters[0].new_zeros(bound.n, 1))],
            check_deterministic=False,
            fisher_type="type-2",
            separate_weight_and_bias=False,
            num_data=bound.n,
        )
        with replay, torch.enable_grad():
            kfac.compute_kronecker_factors()
        found = []
        for layer, places in kfac._mapping.items():
            outer = kfac._gradient_covariances[layer].detach()
            inner = scores.inner.get(layer, outer.new_ones(1, 1))
            weight, bias = (covered[places[k]] if k in places else None for k in ("weight", "bias"))
            found.append(Factor(weight, bias, outer, inner))
        return found

    def _cotangents(self, bound: Bound, seed: int) -> Callable[[Tensor], Tensor]:
        """Outputs [n, ...] ↦ u, [K, n, ...]."""
        if isinstance(self.sampling, Empirical):
            return lambda z: bound.sample.slopes(z, bound.y).to(z.dtype).unsqueeze(0)
        likelihood = bound.likelihood
        assert likelihood is not None, "KroneckerFactors.check() asks for it"
        sampling: Exact | MonteCarlo = self.sampling
        if isinstance(sampling, MonteCarlo):
            sampling = replace(sampling, generator=torch.Generator().manual_seed(seed))
            bound.once("scores", lambda: check_scores(likelihood, bound.outputs()))
        return partial(sampling.cotangents, likelihood)


class _Scores(nn.Module):
    """s_ik = ⟨u_ki, z_i⟩/√2, [n, K]: their mean squared error has ∂²/∂s² = (2/K) I, and its factors are those of the u.

    Outputs of two dimensions only: curvlinops would add the scores of a sample's positions before it squares them.
    """

    kfac: Any

    def __init__(self, bound: Bound, cotangents: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.bound, self.cotangents = unwrapped(bound), bound, cotangents
        self.calls, self.inner = watched(self.model), dict[str, Tensor]()

    def forward(self, samples: Tensor) -> Tensor:
        z: Tensor = self.bound.call_copy(self.model)
        for name in self.kfac._mapping:
            if self.calls.get(self.get_submodule(name)) != [self.bound.n]:
                raise ValueError(
                    f"KFAC: {name.removeprefix('model.')} is called otherwise than in an earlier batch of the same shape, with "
                    f"{self.calls.get(self.get_submodule(name), 'no')} rows for {self.bound.n} samples: samples take different "
                    "ways through the model. Give its parameters another metric, by metrics.Blockwise."
                )
        # cloned here: a checkpointed layer is called again in the backward pass
        self.inner = {name: a.clone() for name, a in self.kfac._input_covariances.items()}
        u = self.cotangents(z.detach())
        return torch.einsum("kne,ne->nk", u.reshape(*u.shape[:2], -1), z.reshape(len(z), -1)) / 2**0.5


def _operator_class() -> Any:
    why = "KroneckerFisher takes its factors from curvlinops, which is not installed"
    with extra("kronecker", why, " (curvlinops-for-pytorch==3.0.1)"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's warnings about what curvlinops' dependencies use
        from curvlinops import KFACLinearOperator
    return KFACLinearOperator
