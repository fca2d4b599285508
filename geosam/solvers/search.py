"""The search for a maximum over a divergence's ball."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..core import Divergence, Vectors, extra
from ..core import vectors as vec

_REACH = 1e3  # in radii of the ball's quadratic model: a maximum farther out does not belong to that ball
_DOUBLINGS = 40
_RIDGE = 1e-6
_STEP, _SLOPE = 0.25, 0.3  # of a difference along ε, relative; what it may differ from the gradient
_GAIN, _PATIENCE = 1e-6, 8  # the smallest rise that counts, relative; iterates without one

Target = Callable[[Vectors], tuple[float, Tensor]]
"""ε ↦ (the value to maximise, its gradient as one flat float64 tensor)."""


class Ball:
    """D(ε) ≤ ρ²/2 in the coordinates x = Aᵀε/ρ, AAᵀ = ∇²D(0): a unit ball to leading order, whatever the curvature."""

    def __init__(self, divergence: Divergence, c: Vectors, rho: float) -> None:
        self.divergence, self.like, self.rho, self.evaluations = divergence, list(c), rho, 0
        flat = divergence.local_norm(0.0).flat
        eye = torch.eye(vec.count(c), dtype=torch.float64, device=c[0].device)
        curvature = torch.stack([vec.flatten(flat(self.vectors(e))).double() for e in eye])
        if not torch.isfinite(curvature).all():
            raise FloatingPointError("∇²D(0) is not finite: are the model's outputs finite and differentiable at θ?")
        curvature = (curvature + curvature.T) / 2
        ridge = _RIDGE * float(curvature.diagonal().mean())
        self.root = torch.linalg.cholesky(curvature + (ridge if ridge > 0 else 1.0) * eye)

    def vectors(self, flat: Tensor) -> list[Tensor]:
        """ε as tensors of the parameters' shapes and type."""
        return [v.to(t.dtype) for v, t in zip(vec.unflatten(flat, self.like), self.like, strict=True)]

    def spent(self, flat: Tensor) -> float:
        """√(2D(ε))/ρ, infinite where D is not finite."""
        self.evaluations += 1
        value = 2 * float(self.divergence(self.vectors(flat)))
        return math.sqrt(max(value, 0.0)) / self.rho if math.isfinite(value) else math.inf

    def slope(self, flat: Tensor) -> Tensor:
        """∇(2D/ρ²)."""
        return 2 / self.rho**2 * vec.flatten(self.divergence.gradient(self.vectors(flat))).double()

    def check_slope(self, flat: Tensor) -> None:
        """ValueError unless ∇D at ε is the derivative of D along ε, as where a KL of the user's detaches parameters."""
        slope = float(self.slope(flat) @ flat)
        up, down = (self.spent(flat * (1 + h)) ** 2 for h in (_STEP, -_STEP))
        rise = (up - down) / (2 * _STEP)
        if math.isfinite(rise) and abs(slope - rise) > _SLOPE * max(abs(slope), abs(rise)):
            raise ValueError(
                f"the gradient of {type(self.divergence).__name__} is not its derivative ({slope:.3g} along ε, by differences "
                f"{rise:.3g}): some function in it detaches what it takes. Constrained follows it; register a KL that "
                "autograd differentiates, torch.distributions.register_kl, or use solvers.Radial()."
            )

    def outwards(self, x: Tensor) -> Tensor:
        """ε = ρA⁻ᵀx."""
        return self.rho * torch.linalg.solve_triangular(self.root.T, x.unsqueeze(1), upper=True).squeeze(1)

    def inwards(self, flat: Tensor) -> Tensor:
        """x = Aᵀε/ρ."""
        return self.root.T @ flat / self.rho

    def pulled(self, slope: Tensor) -> Tensor:
        """The gradient with respect to x: ρA⁻¹∇."""
        return self.rho * torch.linalg.solve_triangular(self.root, slope.unsqueeze(1), upper=False).squeeze(1)


class _Escaped(Exception):
    """An iterate is farther out than ``_REACH``."""


class _Settled(Exception):
    """The residual is within the tolerance, or the iterates no longer improve."""


class Search:
    """One run of SLSQP. All of its inputs are of order 1: x, the target over its linear rise, 1 − 2D/ρ².

    SLSQP's own test compares function values and is limited by their rounding; so each iterate is checked, and the run ends
    when the residual of the Kuhn–Tucker conditions, computed from gradients, is within the tolerance or no longer falls.
    """

    def __init__(self, ball: Ball, target: Target, start: Tensor, iterations: int, tolerance: float) -> None:
        self.ball, self.target, self.start = ball, target, start
        self.iterations, self.tolerance = iterations, tolerance
        self.done, self.residual, self._stale = 0, math.inf, 0
        self.ball.check_slope(start)
        _, slope = target(ball.vectors(torch.zeros_like(start)))
        self.unit = float(torch.linalg.vector_norm(ball.pulled(slope))) or 1.0
        self.best, self._level, self._seen = start, math.inf, (b"", math.nan, start, math.nan, start)

    @property
    def converged(self) -> bool:
        """Whether the residual is within the tolerance, or within what rounding allows."""
        # D subtracts logarithms of order 1 in float64, and outputs in the model's type. f known to δ gives its maximiser to √δ.
        noise = torch.finfo(torch.float64).eps / self.ball.rho**2 + torch.finfo(self.ball.like[0].dtype).eps / self.ball.rho
        return self.residual <= max(self.tolerance, math.sqrt(8 * noise))

    def run(self) -> tuple[Tensor, float, float]:
        """(ε, its rise, the radius reached): the better of SLSQP's best iterate, shrunk into the ball, and the start."""
        self._check_bounded(self.start)
        found = self._inside(self._optimised())
        self._check_bounded(found)
        return max((self._measured(flat) for flat in (self._inside(self.start), found)), key=lambda measured: measured[1])

    def _optimised(self) -> Tensor:
        minimize: Any = _scipy().minimize
        x = self.ball.inwards(self.start).cpu().numpy()
        constraint = {"type": "ineq", "fun": lambda x: self._at(x)[3], "jac": lambda x: self._at(x)[4].cpu().numpy()}
        options = {"maxiter": self.iterations, "ftol": 1e-16}
        try:
            self._watch(x)
            minimize(
                lambda x: (self._at(x)[1], self._at(x)[2].cpu().numpy()),
                x,
                jac=True,
                method="SLSQP",
                constraints=[constraint],
                callback=self._watch,
                options=options,
            )
        except _Settled:
            pass
        except _Escaped:
            self._check_bounded(self.best)
            raise ValueError(
                f"no local maximum within {_REACH:.0e} radii: the iterates run away inside the budget D ≤ ρ²/2. A symmetry of "
                "the model leaves D at 0 along a curve (ReLU nets: rescaled units), or D levels off below the budget. Use a "
                "smaller rho, or solvers.Radial(), which stays on a ray."
            ) from None
        return self.best

    def _epsilon(self, x: Any) -> Tensor:
        return self.ball.outwards(torch.as_tensor(x, dtype=torch.float64, device=self.start.device))

    def _at(self, x: Any) -> tuple[bytes, float, Tensor, float, Tensor]:
        """(x, −target, its gradient, 1 − 2D/ρ², its gradient); a value that is not finite becomes large and flat."""
        key = x.tobytes()
        if key != self._seen[0]:
            flat = self._epsilon(x)
            value, slope = self.target(self.ball.vectors(flat))
            slack = 1 - min(self.ball.spent(flat) ** 2, 1e6)
            inward = -self.ball.pulled(self.ball.slope(flat))
            usable = math.isfinite(value) and bool(torch.isfinite(slope).all())
            slope = -self.ball.pulled(slope) / self.unit if usable else torch.zeros_like(slope)
            self._seen = (key, -value / self.unit if usable else 1e6, slope, slack, inward.nan_to_num(0.0, 0.0, 0.0))
        return self._seen

    def _watch(self, x: Any) -> None:
        """Called at every accepted iterate: keeps the best one, and ends the run."""
        if not float(abs(x).max()) <= _REACH:
            self.best = self._epsilon(x)
            raise _Escaped
        _, value, slope, slack, inward = self._at(x)
        multiplier = max(float(slope @ inward) / (float(inward @ inward) or 1.0), 0.0)
        stationary = float(torch.linalg.vector_norm(slope - multiplier * inward))
        residual = max(stationary, -slack, multiplier * slack)
        gained = value < self._level - _GAIN
        self.done, self._stale = self.done + 1, 0 if gained or residual < self.residual else self._stale + 1
        if gained or residual < self.residual:
            self.best, self.residual = self._epsilon(x), residual
        self._level = min(value, self._level)
        if residual <= self.tolerance or self._stale >= _PATIENCE:
            raise _Settled

    def _inside(self, flat: Tensor) -> Tensor:
        """SLSQP satisfies the constraint only to its tolerance: shrink until the budget holds."""
        for _ in range(50):
            spent = self.ball.spent(flat)
            if spent <= 1:
                return flat
            flat = flat / max(spent, 1 + 1e-15) * (1 - 1e-15) if math.isfinite(spent) else flat / 2
        return torch.zeros_like(flat)

    def _measured(self, flat: Tensor) -> tuple[Tensor, float, float]:
        rise, _ = self.target(self.ball.vectors(flat))
        return flat, rise if math.isfinite(rise) else -math.inf, self.ball.spent(flat) * self.ball.rho

    def _check_bounded(self, flat: Tensor) -> None:
        """ValueError where D stays within the budget on the whole ray through ε while the target grows."""
        first = rise = self._measured(flat)[1]
        for doublings in range(1, _DOUBLINGS + 1):
            far = flat * 2.0**doublings
            level, (value, _) = self.ball.spent(far), self.target(self.ball.vectors(far))
            if not (math.isfinite(level) and math.isfinite(value)):
                doublings -= 1
                break
            if level > 1 or value <= rise:
                return
            rise, reached = value, level
        if first > 0 and doublings >= 8 and rise > 2 ** (doublings / 2) * first:
            raise ValueError(
                f"there is no maximum: on a ray from θ, √(2D) levels off at {reached * self.ball.rho:.4g}, within rho = "
                f"{self.ball.rho:.4g}, while what is maximised has reached {rise:.3g} and goes on. KL(new ‖ old) stays finite "
                "where the loss does not. Use a rho below that level."
            )


def _scipy() -> Any:
    with extra("constrained", "solvers.Constrained needs SciPy", ", or use Radial()"):
        from scipy import optimize
    return optimize
