"""Low rank plus damping, solved by push-through."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from ..core import Damping, InnerProduct, Normal, Relative, Vectors, resolve, singular
from ..core import vectors as vec
from ..rows import Pulled, Rows
from .shifted import Inverted, Shifted

Kernel = Shifted | Inverted
_CANCELS = 64
_IN_RANGE = 1e-16, 1e16  # of ‖c‖²: beyond it float32 products of c with rows leave their range


class LowRank(InnerProduct):
    """G = JᵀJ/n + λI, exact, at the cost of factorising the n × n matrix K + nλI, K = JJᵀ, in float64.

    For a pulled vector Jᵀa, (JᵀJ/n + λI)⁻¹Jᵀa = Jᵀ n(K + nλI)⁻¹a (push-through): the solve is for a alone, so that float32
    keeps its digits at every λ, and ‖Jᵀa‖*² = n aᵀK(K + nλI)⁻¹a. The batch gradient is Jᵀ1/n. Where the parts aᵢgᵢ cancel,
    v is known to eps ‖K‖/nλ · Σ|aᵢ|‖gᵢ‖/‖Jᵀa‖, eps that of float64; only coordinates along an exact dependence of the rows,
    as of samples with opposite gradients, come near that bound (docs/decisions/0007).
    Any other covector is solved by Woodbury's formula, (c − Jᵀ(K + nλI)⁻¹Jc)/λ, and the result is rounded to the rows' type.

    Products in K and Jc are float64. For float32 rows on a CPU they are computed in float32 first, in half the time, and
    repeated in float64 where that rounding would change v (:meth:`Shifted.accurate`).
    λ = 0 needs rows that span the parameters (n ≥ P): then G⁻¹c = n JᵀK⁺K⁺Jc. Raises: ValueError where they do not.
    """

    like: Vectors

    def __init__(self, rows: Rows, damping: Damping) -> None:
        self.rows, self.like, self.n = rows, rows.like, rows.n
        self._undamped = damping in (0, Relative(0.0))
        rounded = None if self._undamped else self._rounded_gram()
        diagonal = (self._gram if rounded is None else rounded).diagonal()
        size = vec.count(self.like)
        self.damping = resolve(damping, lambda: diagonal.sum() / (self.n * size))
        self._first: Kernel = self._kernel if rounded is None else self._shifted(rounded, True)

    def __repr__(self) -> str:
        return f"LowRank(n={self.n}, damping={float(self.damping):.3g})"

    def _rounded_gram(self) -> Tensor | None:
        """K from float32 products, in half the time; None where rows are not float32, reads not free or K out of range."""
        if self.like[0].dtype != torch.float32 or not vec.reads_are_free(self.like):
            return None
        gram = self.rows.gram(torch.float32)
        least, most = gram.diagonal().aminmax()
        return gram if least > 1e-24 and most < 1e30 else None

    def _shifted(self, gram: Tensor, rounded: bool) -> Shifted:
        return Shifted(gram, self.n * self.damping, rounded)

    @cached_property
    def _gram(self) -> Tensor:
        return self.rows.gram()

    @cached_property
    def _kernel(self) -> Kernel:
        if not self._undamped:
            return self._shifted(self._gram, False)
        inverted, size = Inverted(self._gram, torch.finfo(self.like[0].dtype).eps), vec.count(self.like)
        if inverted.finite and inverted.rank < size:
            raise singular(f"JᵀJ/n, of rank {inverted.rank} with {size} parameters,")
        return inverted

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(♯c, ‖c‖*): in n dimensions for a pulled vector of these rows, by Woodbury's formula otherwise."""
        if isinstance(c, Pulled) and c.rows is self.rows:
            return self._first_accurate(lambda k: self._within(k, c.coordinates.double()))
        return self._first_accurate(lambda k: self._across(k, None, c))

    def ascend_sum(self, inside: Pulled, outside: Vectors) -> tuple[Vectors, Tensor]:
        """(♯c, ‖c‖*) for the sum c of a pulled vector of these rows and any other covector."""
        return self._first_accurate(lambda k: self._across(k, inside.coordinates.double(), outside))

    def _first_accurate(self, ascended: Callable[[Kernel], tuple[Vectors, Tensor] | None]) -> tuple[Vectors, Tensor]:
        with vec.as_given(self.like[0]):
            found = ascended(self._first) or ascended(self._kernel)
        assert found is not None, "float64 products are accurate"
        return found

    def _within(self, k: Kernel, a: Tensor) -> tuple[Vectors, Tensor] | None:
        """For Jᵀa: Jᵀw with w = n(K + nλI)⁻¹a. None where the rounding of K matters."""
        weights = self.n * k.solve(a)
        along = k.gram @ weights
        square, whole = weights @ along, a @ along
        if isinstance(k, Shifted) and not k.accurate(weights, 0.0, (square, self.n * whole)):
            return None
        return self.rows.pull(self._narrowed(k, weights, square)), whole.sqrt()

    def _across(self, k: Kernel, a: Tensor | None, c: Vectors) -> tuple[Vectors, Tensor] | None:
        """For Jᵀa + c: (c + Jᵀw)/λ with w = (K + nλI)⁻¹(nλa − Jc). None where rounding (K, Jc, the sum) matters."""
        wide = c if k.rounded else vec.map(Tensor.double, c)
        met = self.rows.apply(wide)
        if self._undamped:
            along = k.solve(met if a is None else met + k.gram @ a)
            v, square = self.rows.vjp(self.n * k.solve(along)), self.n * along.square().sum()
            return vec.cast(v, self.like), square.sqrt()
        weights = k.solve(-met if a is None else self.n * self.damping * a - met)
        along, across = k.gram @ weights, met @ weights
        inside, pulled = 0.0 if a is None else a @ (met + along), weights @ along  # ⟨a, λJv⟩ and ‖Jᵀw‖²
        whole = wide.square() if isinstance(wide, Pulled) else vec.dot(wide, wide)
        if isinstance(k, Shifted) and k.rounded:
            left, reached = whole + 2 * across + pulled, whole + across + inside  # ‖λv‖² and λ‖v‖²_G
            clear = left > whole / _CANCELS**2 and _IN_RANGE[0] < whole < _IN_RANGE[1]
            if not (clear and k.accurate(weights, whole.sqrt(), (left, self.n * self.damping * reached))):
                return None
            narrow = self._narrowed(k, weights / self.damping, pulled / self.damping**2)
            return vec.cast(self.rows.add(wide, 1 / self.damping, narrow), self.like), (reached / self.damping).sqrt()
        v = self.rows.add(wide, 1 / self.damping, weights / self.damping)
        # ‖c‖² + ⟨Jc, w⟩ cancels where c lies near the span, so v is normalised by its product with c
        return vec.cast(v, self.like), (vec.dot(wide, v) + inside / self.damping).clamp_min(0).sqrt()

    def _narrowed(self, k: Kernel, weights: Tensor, square: Tensor) -> Tensor:
        """w in the rows' type, half the work, where Jᵀw (of this square) loses no digit in it: Σ |wᵢ|‖gᵢ‖ ≤ 64 ‖Jᵀw‖.

        Where reads are not free, w stays in float64.
        """
        if not vec.reads_are_free([weights]):
            return weights
        sizes = weights.abs()
        cancels = float(sizes @ k.lengths) > _CANCELS * math.sqrt(max(float(square), 0.0))
        # far from the ends of float32's range, also in products of the weights with the rows' factors
        fits = all(1e-12 < float(top) < 1e12 for top in (sizes.amax(), k.lengths.amax()))
        return weights.to(self.like[0].dtype) if fits and not cancels else weights

    def sharp(self, c: Vectors) -> Vectors:
        """♯c; for a pulled vector of these rows again one."""
        return self.ascend(c)[0]

    def flat(self, v: Vectors) -> list[Tensor]:
        """Jᵀ(Jv)/n + λv."""
        wide = vec.map(Tensor.double, v)
        with vec.as_given(v[0]):
            out = self.rows.add(wide, self.damping, self.rows.apply(wide) / self.n)
        return vec.cast(out, v)

    def norm(self, v: Vectors) -> Tensor:
        """‖v‖² = ‖Jv‖²/n + λ‖v‖₂²."""
        with vec.as_given(v[0]):
            along = self.rows.apply(vec.map(Tensor.double, v))
        return (along.square().sum() / self.n + self.damping * vec.dot(v, v)).sqrt()

    def coloured(self, normal: Normal, like: Vectors) -> list[Tensor]:
        """G⁻¹(Jᵀw/√n + √λ z) for independent noise w and z: the bracket has covariance G, so that this has G⁻¹GG⁻¹ = G⁻¹.

        By push-through it is z/√λ + Jᵀ(K + nλI)⁻¹(√n w − Jz/√λ); undamped √n JᵀK⁺w. No square root of G is formed, and rows
        that are dependent or more than the parameters need no special case.
        Source: Papandreou & Yuille 2010, "Gaussian sampling by local perturbations".
        """
        along = math.sqrt(self.n) * normal((self.n,))
        if self._undamped:
            return self.rows.vjp(self._kernel.solve(along))
        z = vec.scale([normal(t.shape) for t in like], self.damping**-0.5)
        return vec.add(z, self.rows.vjp(self._kernel.solve(along - self.rows.apply(z))))

    def logdet(self) -> Tensor:
        """log det(K + nλI) − n log n + (P − n) log λ; undamped Σ log(κ/n) over the P eigenvalues κ > 0 of K."""
        total = (2 * self._kernel.pivots.log() - math.log(self.n)).sum()
        if self._undamped:
            return total
        damping = torch.as_tensor(self.damping, dtype=torch.float64, device=total.device)
        return total + (vec.count(self.like) - self.n) * damping.log()
