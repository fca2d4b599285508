"""Laws of ε*, the argmax of ⟨c, ε⟩ over ‖ε‖ ≤ ρ. They hold for every norm."""

from __future__ import annotations

from ...core import Norm, Vectors
from ...core import vectors as vec
from ...solvers import solve
from ..drawn import Drawn, combination, copied, kind, pairing, scaled, spoiled
from ..measure import at_most, equal, holds, identical, within

_SIZES = (1e-4, 1e-2, 0.3, 1.0)


def reaches_the_radius(norm: Norm, drawn: Drawn, tolerance: float) -> None:
    """‖ε*‖ = ρ."""
    found = solve(norm, drawn.c, drawn.rho)
    equal("‖ε*‖", norm.norm(found.epsilon), drawn.rho, tolerance)
    equal("the reported radius", found.radius, drawn.rho, tolerance)


def attains_the_dual_norm(norm: Norm, drawn: Drawn, tolerance: float) -> None:
    """⟨c, ε*⟩ = ρ‖c‖*."""
    found = solve(norm, drawn.c, drawn.rho)
    rise = pairing(drawn.c, found.epsilon)
    equal("⟨c, ε*⟩", rise, drawn.rho * norm.dual_norm(drawn.c), tolerance)
    equal("the reported ‖c‖*", found.dual_norm, norm.dual_norm(drawn.c), tolerance)


def obeys_hoelder(norm: Norm, drawn: Drawn, tolerance: float) -> None:
    """⟨c, v⟩ ≤ ‖c‖* ‖v‖."""
    dual = norm.dual_norm(drawn.c)
    for v in (drawn.u, drawn.v, drawn.step, _unit(drawn.c)):
        bound = dual * norm.norm(v)
        at_most("|⟨c, v⟩|", pairing(drawn.c, v).abs(), bound, tolerance * bound)


def no_neighbour_does_better(norm: Norm, drawn: Drawn, tolerance: float) -> None:
    """⟨c, ε* + δ⟩ ≤ ⟨c, ε*⟩ for every δ, once ε* + δ is renormalised to the sphere."""
    epsilon = solve(norm, drawn.c, drawn.rho).epsilon
    best, slack = pairing(drawn.c, epsilon), tolerance * drawn.rho * norm.dual_norm(drawn.c)
    for direction in (drawn.step, _unit(drawn.c)):
        reach = drawn.rho / norm.norm(direction)
        for size in (s * sign for s in _SIZES for sign in (1, -1)):
            moved = combination(1.0, epsilon, float(size * reach), direction)
            length = norm.norm(moved)
            rise = pairing(drawn.c, moved) * (drawn.rho / length if length > 0 else 0)
            at_most(f"⟨c, v⟩ of a neighbour v at distance {abs(size):g}ρ", rise, best, slack)


def ignores_the_scale_of_the_covector(norm: Norm, drawn: Drawn, tolerance: float) -> None:
    """ε*(s c) = ε*(c) and ‖s c‖* = s‖c‖* for s > 0, over the whole range of supported scales."""
    s = 2.0**drawn.power
    here, there = solve(norm, drawn.c, drawn.rho), solve(norm, scaled(drawn.c, s), drawn.rho)
    equal(f"‖s c‖*/s for s = {s:.3g}", there.dual_norm / s, here.dual_norm, tolerance)
    gap = combination(1.0, there.epsilon, -1.0, here.epsilon)
    within(f"‖ε*(s c) − ε*(c)‖/ρ for s = {s:.3g}:", norm.norm(gap), drawn.rho, tolerance)


def sends_zero_to_zero(norm: Norm, drawn: Drawn, tolerance: float) -> None:
    """♯0 = 0, ‖0‖ = ‖0‖* = 0 and ε*(0) = 0."""
    zero = vec.zeros_like(drawn.c)
    found = solve(norm, vec.zeros_like(zero), drawn.rho)
    identical("ε*(0)", found.epsilon, zero)
    holds(f"ε*(0) is reported with finite = {found.finite}", found.finite)
    holds(f"ε*(0) is reported with radius {found.radius}, ‖0‖* = {found.dual_norm}", found.radius == found.dual_norm == 0)
    identical("♯0", list(norm.sharp(vec.zeros_like(zero))), zero)
    holds(f"‖0‖ = {norm.norm(zero)}", norm.norm(zero) == 0)


def selects_away_what_is_not_finite(norm: Norm, drawn: Drawn, tolerance: float) -> None:
    """c with NaN or ±inf in it gives ε* = 0, and is reported as not finite."""
    found = solve(norm, spoiled(drawn.c, *drawn.spoil), drawn.rho)
    identical(f"ε* for c with {drawn.spoil[1]} in it", found.epsilon, vec.zeros_like(drawn.c))
    holds(f"c holds {drawn.spoil[1]}, and ε* is reported as finite with ‖c‖* = {found.dual_norm}", not found.finite)


def is_deterministic(norm: Norm, drawn: Drawn, tolerance: float) -> None:
    """The same c gives the same ε* and ‖c‖*, bit for bit."""
    first, second = solve(norm, drawn.c, drawn.rho), solve(norm, drawn.c, drawn.rho)
    identical("ε*, twice", first.epsilon, second.epsilon)
    identical("‖c‖*, twice", [first.dual_norm], [second.dual_norm])
    identical("‖v‖, twice", [norm.norm(drawn.v)], [norm.norm(drawn.v)])


def keeps_type_shape_and_device(norm: Norm, drawn: Drawn, tolerance: float) -> None:
    """♯c and ε* have the types, shapes and device of c; ‖c‖* and ‖v‖ are 0-dimensional float64 tensors on that device."""
    found = solve(norm, drawn.c, drawn.rho)
    for what, v in (("♯c", norm.sharp(drawn.c)), ("ε*", found.epsilon)):
        holds(f"{what} is {kind(v)}, and c is {kind(drawn.c)}", kind(v) == kind(drawn.c))
    want = kind([drawn.c[0].new_zeros((), dtype=vec.norm(drawn.c).dtype)])
    for what, t in (("‖c‖*", norm.dual_norm(drawn.c)), ("‖v‖", norm.norm(drawn.v))):
        holds(f"{what} is {t!r}, not a 0-dimensional float64 tensor on the vectors' device", kind([t]) == want)


def leaves_its_arguments_alone(norm: Norm, drawn: Drawn, tolerance: float) -> None:
    """Neither ♯ nor ‖·‖ writes into the vector it is given."""
    c, v = copied(drawn.c), copied(drawn.v)
    before = copied(c), copied(v)
    norm.ascend(c)
    identical("c after ♯c", c, before[0])
    norm.norm(v)
    identical("v after ‖v‖", v, before[1])


def _unit(c: Vectors) -> Vectors:
    """c as a tangent vector of moderate size."""
    return scaled(list(c), 1 / float(vec.sup(c)))
