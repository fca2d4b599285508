"""What all methods are measured against, in float64: the gradient, KL, the undamped Fisher's dual norm, one direction."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

import geosam
from geosam import Observation, Relative
from geosam.metrics import Exact, Fisher
from geosam.observation import PredictiveDistribution
from geosam.solvers import first_crossing

from ..data.batches import Batch
from .methods import SHARED
from .result import Number, Spent

LOSS = nn.CrossEntropyLoss()


@dataclass(frozen=True)
class Judge:
    """One batch at one θ. dual_norm: ‖g‖_{F*} with F undamped. direction: ♯g of the exact Fisher with ``SHARED`` damping."""

    seen: Observation
    gradient: Tensor
    dual_norm: float
    direction: Tensor

    @classmethod
    def of(cls, model: nn.Module, batch: Batch, limit: float) -> Judge:
        """Everything is computed on a float64 copy of the model.

        limit: the ``Relative`` damping at which ‖g‖* is taken. It grows as λ falls, and g lies in F's range, where 1e-8 has
        no part left: Jᵀ(JJᵀ + nλI)⁻¹ by Cholesky, in float64. Raises: ValueError where that would not be exact.
        """
        problem = geosam.Problem(copy.deepcopy(model).double(), LOSS).on(batch[0].double(), batch[1])
        exact = Fisher(SHARED, Exact())
        seen = geosam.observe(problem, exact.needs, "the judge")
        undamped, damped = replace(exact, damping=Relative(limit)).at(seen), exact.at(seen)
        assert isinstance(undamped, geosam.InnerProduct) and isinstance(damped, geosam.InnerProduct)
        how = geosam.solve(undamped, seen.gradient, 1.0).report["solve"]
        if not how.startswith("Gram"):
            raise ValueError(f"the reference is exact by rows in float64, and has {how}: give a probe fewer images")
        direction = flat(damped.sharp(seen.gradient))
        return cls(seen, flat(seen.gradient), undamped.dual_norm(seen.gradient).item(), direction)

    def cosine(self, epsilon: Tensor) -> Number:
        """With the reference direction."""
        return finite((epsilon @ self.direction / (epsilon.norm() * self.direction.norm())).item())

    def local(self, epsilon: Tensor) -> Number:
        """⟨g, v⟩/(‖g‖_{F*} ‖v‖_F): the cosine with F⁻¹g in F's own angles, and the efficiency as KL → 0."""
        unit = epsilon / epsilon.norm()
        size = (unit @ flat(self.seen[PredictiveDistribution()].fisher(self._shaped(unit)))).clamp_min(0).sqrt()
        return finite((self.gradient @ unit / (self.dual_norm * size)).item())

    def kl(self, epsilon: Tensor) -> float:
        """D(ε)."""
        return self.seen[PredictiveDistribution()].kl(self._shaped(epsilon)).item()

    def efficiency(self, epsilon: Tensor, kl: float) -> Number:
        """⟨g, tε⟩/(‖g‖_{F*} √(2D(tε))) where D(tε) = kl; None where the ray does not get there."""
        if not (math.isfinite(epsilon.norm().item()) and epsilon.norm() > 0):
            return None
        level, start = math.sqrt(2 * kl), 0.01 / epsilon.norm().item()
        crossing = first_crossing(lambda t: math.sqrt(2 * max(self.kl(t * epsilon), 0.0)), level, start, 1e-3, 40)
        rise = crossing.t * (self.gradient @ epsilon).item()
        return finite(rise / (self.dual_norm * crossing.value)) if crossing.met else None

    def spent(self, epsilon: Tensor, kl: float) -> Spent:
        """ε as solved at radius √(2 kl)."""
        return Spent(kl=kl, spent=finite(self.kl(epsilon) / kl), efficiency=self.efficiency(epsilon, kl))

    def _shaped(self, v: Tensor) -> list[Tensor]:
        like = self.seen.parameters
        return [part.view_as(p) for part, p in zip(v.split([p.numel() for p in like]), like, strict=True)]


def flat(v: Iterable[Tensor]) -> Tensor:
    """A list of tensors as one vector, float64."""
    return torch.cat([t.detach().double().flatten() for t in v])


def finite(value: float) -> Number:
    """None in place of what JSON cannot hold."""
    return value if math.isfinite(value) else None
