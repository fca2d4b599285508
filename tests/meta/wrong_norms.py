"""Norms with one mistake each, around G = diag(d)."""

import torch

from geosam import InnerProduct, Norm
from geosam.core import vectors as vec
from geosam.norms import Block


def times(u, v):
    return [(a * b).to(a.dtype) for a, b in zip(u, v, strict=True)]


def over(u, v):
    return [(a / b).to(a.dtype) for a, b in zip(u, v, strict=True)]


class Right(Norm):
    """G = diag(d), without a mistake."""

    def __init__(self, d):
        self.d = self.like = d

    def ascend(self, c):
        v = over(c, self.d)
        return v, vec.dot(c, v).sqrt()

    def norm(self, v):
        return vec.dot(times(v, self.d), v).sqrt()


class RightProduct(InnerProduct):
    def __init__(self, d):
        self.d = self.like = d

    def sharp(self, c):
        return over(c, self.d)

    def flat(self, v):
        return times(v, self.d)


class WrongExponent(Right):
    """♯c ∝ c/d², normalised by its own norm, so that radius and pairing are right."""

    def ascend(self, c):
        v = over(over(c, self.d), self.d)
        length = self.norm(v)
        dual = vec.dot(c, v) / length
        return vec.scale(v, torch.where(length > 0, dual / length, 0.0)), torch.where(length > 0, dual, 0.0)


class WithoutSquareRoot(Right):
    def ascend(self, c):
        v, dual = super().ascend(c)
        return v, dual.square()


class UnscaledRadius(Right):
    """ε = ρ ♯c."""

    def ascend(self, c):
        v, dual = super().ascend(c)
        return v, torch.where(dual > 0, torch.ones_like(dual), dual)


class EuclideanNormaliser(Right):
    """ε = ρ ♯c/‖♯c‖₂."""

    def ascend(self, c):
        v, _ = super().ascend(c)
        return v, vec.norm(v)


class EuclideanLength(Right):
    def norm(self, v):
        return vec.norm(v)


class LostSign(Right):
    def ascend(self, c):
        v, dual = super().ascend(c)
        return vec.map(torch.abs, v), dual


class UnitSharp(Right):
    """♯ of degree 0."""

    def ascend(self, c):
        v, dual = super().ascend(c)
        return vec.scale(v, torch.where(dual > 0, 1 / dual, 0.0)), dual


class HalfTheDualNorm(Right):
    """The same ε*, with ‖c‖* understated."""

    def ascend(self, c):
        v, dual = super().ascend(c)
        return vec.scale(v, 0.5), dual / 2


class OtherSharp(Right):
    """``sharp`` forgets what ``ascend`` knows."""

    def sharp(self, c):
        return vec.scale(c, 1.0)


class MultipliedByAMask(Right):
    """0 · NaN is NaN: the number is cleaned, the direction is not."""

    def ascend(self, c):
        v, _ = super().ascend([t * torch.isfinite(t) for t in c])
        return v, vec.dot(c, v).sqrt().nan_to_num(0.0, 0.0, 0.0)


class DividedByItsOwnZero(Right):
    def ascend(self, c):
        v, dual = super().ascend(c)
        return vec.map(lambda t: (t / dual * dual).to(t.dtype), v), dual


class Promoted(Right):
    def ascend(self, c):
        v, dual = super().ascend(c)
        return vec.map(torch.Tensor.double, v), dual


class SquaredInItsOwnPrecision(Right):
    def ascend(self, c):
        v = over(c, self.d)
        return v, sum((a * b).sum() for a, b in zip(c, v, strict=True)).sqrt().double()


class Stateful(Right):
    calls = 0

    def ascend(self, c):
        self.calls += 1
        v, dual = super().ascend(c)
        return v, dual * (1 + 1e-9 * self.calls)


class InPlace(Right):
    def ascend(self, c):
        total = sum((t.double() ** 2 / d).sum() for t, d in zip(c, self.d, strict=True)).sqrt()
        return [t.div_(d) for t, d in zip(c, self.d, strict=True)], total


class NotHomogeneous(Right):
    def norm(self, v):
        return super().norm(v) + super().norm(v) ** 2


class BelowOne(Right):
    """Σ |vᵢ|^½ squared: homogeneous, and no norm."""

    def norm(self, v):
        return sum(t.double().abs().sqrt().sum() for t in v) ** 2


class ReadsTheHost(Norm):
    """A branch on a number: one break of the graph."""

    def ascend(self, c):
        total = vec.norm(c)
        return (c, total) if total.item() > 0 else (vec.zeros_like(c), total)

    def norm(self, v):
        return vec.norm(v)


class DampedInSharpOnly(RightProduct):
    def sharp(self, c):
        return [t / (d + 0.1) for t, d in zip(c, self.d, strict=True)]


class RecomputedMagnitude(RightProduct):
    """1/(1 + c²) of the argument, where the batch gradient's own should have been kept."""

    def sharp(self, c):
        return [t / (1 + t * t) for t in c]


class CubicFlat(RightProduct):
    def flat(self, v):
        return [d * t + t**3 for t, d in zip(v, self.d, strict=True)]


class NormWithoutItsDamping(RightProduct):
    def norm(self, v):
        return vec.dot(times(v, [d - 0.1 * d.clamp_max(1) for d in self.d]), v).sqrt()


class Indefinite(RightProduct):
    """The last entry of G is negative."""

    def __init__(self, d):
        super().__init__([*d[:-1], -d[-1]])


class Lopsided(InnerProduct):
    """G = diag(d) + a superdiagonal, and ♯ its exact inverse."""

    def __init__(self, d):
        self.like = d
        flat = vec.flatten(d).double()
        self.matrix = flat.diag() + 0.5 * torch.diag(flat[1:], 1)

    def flat(self, v):
        return self._apply(self.matrix, v)

    def sharp(self, c):
        return self._apply(torch.linalg.inv(self.matrix), c)

    def _apply(self, matrix, v):
        out = vec.unflatten(matrix @ vec.flatten(v).double(), v)
        return [t.to(s.dtype) for t, s in zip(out, v, strict=True)]


class WeightNotSquared(Norm):
    """♯c_b = w_b ♯_b c_b, where w_b² belongs."""

    def __init__(self, d):
        self.like = d
        self.blocks = [Block([i], Right([t]), 3.0 + i) for i, t in enumerate(d)]

    def ascend(self, c):
        parts = [block.norm.ascend(block.of(c)) for block in self.blocks]
        squares = [(b.weight * dual) ** 2 for b, (_, dual) in zip(self.blocks, parts, strict=True)]
        sharp = [vec.scale(v, b.weight)[0] for b, (v, _) in zip(self.blocks, parts, strict=True)]
        return sharp, torch.stack(squares).sum().sqrt()

    def norm(self, v):
        return torch.stack([b.norm.norm(b.of(v)) / b.weight for b in self.blocks]).square().sum().sqrt()
