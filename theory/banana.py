"""M4. The saddle of (1 − xy)² holds fewer starts under Monge SAM than under SAM, because its ball is smaller.

Loss ℓ = (1 − xy)²: a saddle at the origin, minima on xy = 1. u = (x+y)/√2, v = (x−y)/√2; k = 1 − xy; s, φ polar in (u, v).

Definition. A start is held if the flow θ̇ = −∇ℓ(θ + ε(θ)) takes it to the saddle; of two methods that one is less
attracted whose set of held starts is strictly contained in the other's. ε is along g, r(θ) long: SAM r = ρ, Monge SAM
r = ρ/√(1 + ‖g‖²), gradient descent r = 0. Starts have k > 0, and ρ ≤ 1, so that k > 0 at the perturbed point as well.

Derivation. ∇ℓ = −2k(u, −v), so g/‖g‖ = (−u, v)/s, exactly. The perturbed point is (u(1 − r/s), v(1 + r/s)), and with
time counted in units of 1/(2k) at that point
    s′ = s cos 2φ − r,    φ′ = −sin 2φ.
The ball s < r flows into the saddle, from which gradient descent flees. All methods turn φ alike, so from the same start
and at the same φ Monge SAM, with r < ρ, is always further out: its held set is contained in SAM's. The boundary on the ray
φ is for SAM  s_S = ρ (sin 2φ)^{−½} ∫₀^φ (sin 2t)^{−½} dt; on the line v = 0 it is s = r: u_S = ρ, and u_M√(1 + ‖g‖²) = ρ.

Claim M4: Jacobsen & Arvanitidis, Monge SAM, 2025: less attracted to saddle points than SAM. Verdict: holds at the same
ρ. The effect is second order: r = ρ(1 − 2s²) + O(s⁴) near the saddle, u_M = ρ − 2ρ³ + O(ρ⁵). At ρ = 0.05 its
boundary is half a per cent nearer on v = 0; 1.4 per cent of all starts that SAM holds between there and v = 5u are not held.
GD < Monge SAM < SAM, as the radii.

Claim M4a: it is still so at matched length, when SAM's radius is the length of Monge SAM's first step.
Verdict: fails; on every ray but v = 0 it is the other way round. Monge SAM's radius grows on the way to the saddle, as ‖g‖
falls: it is largest where it should be small. On v = 0 SAM with ρ = u_M holds exactly the same starts, and if the length
is matched in every step, the two are one method (M2).
What the flow says holds for steps that are short against the gap between the boundaries; with rate 0.3 it does not.
"""

import math
from dataclasses import dataclass

import numpy as np
import sympy as sp

from theory.bisection import bisect
from theory.claim import Claim
from theory.drawing import Axes
from theory.proof import prove
from theory.saddle_dynamics import boundary, descent, held, monge, sam, size, step
from theory.verdict import Outcome, Trial, Verdict, judge, undecided


def derive() -> dict[str, sp.Eq]:
    """The gradient in (u, v), the flow, SAM's boundary, and how little the radii differ near the saddle."""
    u, v, r, s, phi, rho = sp.symbols("u v r s phi rho", positive=True)
    a = sp.Symbol("a", real=True)
    k = 1 - (u**2 - v**2) / 2
    loss = sp.expand((1 - (u + v) * (u - v) / 2) ** 2)
    slope = sp.Matrix([loss.diff(u), loss.diff(v)])
    length = sp.sqrt(u**2 + v**2)
    norm = 2 * k * length  # k > 0
    point = sp.Matrix([u, v]) + r * (slope / norm).applyfunc(sp.cancel)

    polar = {u: s * sp.cos(phi), v: s * sp.sin(phi)}
    du, dv = 1 - r / s, -(1 + r / s)  # −∇ℓ at that point is 2k there · (u du, v dv)
    radial, angular = ((u**2 * du + v**2 * dv) / s).subs(polar), (u * v * (dv - du) / s**2).subs(polar)
    integral = sp.Function("I")(phi)
    edge_sam = rho / sp.sqrt(sp.sin(2 * phi)) * integral
    turned = edge_sam.diff(phi).subs(integral.diff(phi), 1 / sp.sqrt(sp.sin(2 * phi)))

    c = sp.Symbol("c", real=True)  # cos 2φ: u² − v² = cs²
    radius = rho / sp.sqrt(1 + 4 * (1 - c * s**2 / 2) ** 2 * s**2)
    taylor = sum(radius.diff(s, n).subs(s, 0) * s**n / math.factorial(n) for n in range(4))
    edge = sp.expand((rho + a * rho**3) ** 2 * (1 + (4 * k**2 * u**2).subs(v, 0).subs(u, rho + a * rho**3)) - rho**2)
    hessian = sp.hessian(loss, (u, v)).subs({u: 0, v: 0})
    return {
        r"\|\nabla\ell\|^2 = (2ks)^2": prove(sp.expand(slope.dot(slope)), sp.expand(norm**2)),
        r"\nabla\ell = -2k\,(u, -v)": prove(slope, sp.Matrix([-2 * k * u, 2 * k * v]).expand()),
        r"\nabla^2\ell(0) = \mathrm{diag}(-2, 2)": prove(hessian, sp.diag(-2, 2)),
        r"\theta + r g/\|g\| = \bigl(u (1 - \tfrac rs),\ v (1 + \tfrac rs)\bigr)": prove(
            point, sp.Matrix([u * (1 - r / length), v * (1 + r / length)])
        ),
        r"s' = s \cos 2\varphi - r": prove(radial, s * sp.cos(2 * phi) - r),
        r"\varphi' = -\sin 2\varphi": prove(angular, -sp.sin(2 * phi)),
        r"s_S = \frac{\rho}{\sqrt{\sin 2\varphi}} \int_0^\varphi \frac{dt}{\sqrt{\sin 2t}}"
        r"\text{ solves } \frac{ds}{d\varphi} (-\sin 2\varphi) = s \cos 2\varphi - \rho": prove(
            -turned * sp.sin(2 * phi), edge_sam * sp.cos(2 * phi) - rho
        ),
        r"\frac{\rho}{\sqrt{1 + \|g\|^2}} = \rho\,(1 - 2 s^2) + O(s^4)": prove(taylor, rho * (1 - 2 * s**2)),
        r"u_M = \rho - 2\rho^3 + O(\rho^5)": prove(sp.solve(edge.coeff(rho, 4), a)[0], sp.S(-2)),
    }


@dataclass(frozen=True)
class Instance:
    """rho: in (0, 1]; slope: v/u = tan φ of the ray that starts lie on, in [0, 8]; rate: of the steps, in (0, 1)."""

    rho: float
    slope: float
    rate: float = 0.01

    def __post_init__(self) -> None:
        for name, inside, domain in (
            ("rho", 0 < self.rho <= 1, "(0, 1]: from √2 on, the perturbation crosses the hyperbola of minima"),
            ("slope", 0 <= self.slope <= 8, "[0, 8]: toward v alone, every method is held"),
            ("rate", 0 < self.rate < 1, "(0, 1)"),
        ):
            if not inside:
                raise ValueError(f"{name} = {getattr(self, name)} is outside what is judged; pass one in {domain}.")

    @property
    def phi(self) -> float:
        return math.atan(self.slope)

    def start(self, s: float) -> tuple[float, float]:
        """(x, y) at distance s on the ray."""
        u, v = s * math.cos(self.phi), s * math.sin(self.phi)
        return (u + v) / math.sqrt(2), (u - v) / math.sqrt(2)

    def between(self, inner: float, outer: float) -> float | None:
        """A distance between two boundaries, or None if the steps are too long to distinguish the two.

        The steps' own boundaries are off the flow's by a fraction of order 2k·rate, the change of s in a step.
        """
        longest = 2 * self.rate * (1 + (math.sin(self.phi) * (outer + self.rho)) ** 2 / 2)
        return math.sqrt(inner * outer) if outer > inner * (1 + 4 * longest) else None


def instance(seed: int) -> Instance:
    """ρ from 0.5 to 1, rays from v/u = 0.4 to 2.6, and rates short enough for the gaps that are to be resolved."""
    rng = np.random.default_rng(seed)
    return Instance(rng.uniform(0.5, 1), math.tan(rng.uniform(0.4, 1.2)), 10 ** rng.uniform(-3.2, -2.7))


def more_time(steps: int) -> str:
    return f"more or longer steps: after {steps} a start had neither reached the saddle nor left"


def check(instance: Instance, altered: bool = False) -> Verdict:
    """M4: on the instance's ray SAM's boundary is outside of Monge SAM's, and a start between them shows it by steps.

    From there SAM is held, and Monge SAM and gradient descent are not. Altered: SAM and Monge SAM exchanged. Errors: of
    the boundaries, inner over outer, at most 1; of the steps, 1 for a wrong outcome.
    """
    rho, phi = instance.rho, instance.phi
    radii = {"Monge SAM": monge(rho), "SAM": sam(rho)}
    less, more = reversed(radii) if altered else radii
    edges = {name: boundary(phi, radius) for name, radius in radii.items()}
    s = instance.between(*sorted(edges.values()))
    if s is None:
        return undecided("shorter steps: at this rate they do not resolve the gap between the two boundaries")
    case = f"ρ = {rho:.3g}, v/u = {instance.slope:.3g}: " + ", ".join(
        f"{name}'s boundary at {e:.4g}" for name, e in edges.items()
    )
    trials = [Trial(edges[less] / edges[more], 1.0, case)]
    for name, radius, claimed in ((less, radii[less], False), (more, radii[more], True), ("descent", descent, False)):
        found, steps = held(instance.start(s), rho, radius, instance.rate)
        if found is None:
            return undecided(more_time(steps))
        trials.append(Trial(float(found is not claimed), 0.5, f"{case}; from {s:.4g} {name} held: {found} ({steps} steps)"))
    return judge(trials)


def check_matched(instance: Instance, altered: bool = False) -> Verdict:
    """M4a by steps: where Monge SAM is held, so is SAM with the radius of Monge SAM's first step. Altered: of the same ρ.

    The start lies between Monge SAM's boundary and the distance from which on SAM with such a radius is not held; on
    v = 0 these are one. Error: 1 where Monge SAM is held and the matched SAM is not.
    """
    rho, phi = instance.rho, instance.phi
    outer, unit = boundary(phi, monge(rho)), boundary(phi, sam(1.0))
    # SAM's boundary is proportional to its radius.
    inner = bisect(lambda s: s < monge(rho)(size(s, phi)) * unit, 0.0, outer)
    s = instance.between(inner, outer)
    if s is None:
        return undecided("a ray off v = 0, ρ that matters, or shorter steps: at this rate they resolve no difference")
    matched = rho if altered else monge(rho)(size(s, phi))
    ours, taken = held(instance.start(s), rho, monge(rho), instance.rate)
    theirs, more = held(instance.start(s), rho, sam(matched), instance.rate)
    if ours is None or theirs is None:
        return undecided(more_time(max(taken, more)))
    where = f"ρ = {rho:.3g}, v/u = {instance.slope:.3g}, start at {s:.4g}"
    runs = f"Monge SAM held: {ours} ({taken} steps), SAM of radius {matched:.4g} held: {theirs} ({more} steps)"
    return judge([Trial(float(ours and not theirs), 0.5, f"{where}: {runs}")])


def draw(axes: Axes) -> None:
    """The starts near the saddle from which each method is held, and three paths from a start between the boundaries."""
    rho = 0.5
    angles = np.linspace(0, 1.42, 40)
    for radius, label, style in ((sam(rho), "SAM holds", "-"), (monge(rho), "Monge SAM, same ρ, holds", "--")):
        edge = np.array([boundary(phi, radius) for phi in angles])
        line = axes.plot(edge * np.cos(angles), edge * np.sin(angles), style, label=f"{label} what is left of this")[0]
        axes.fill_betweenx(edge * np.sin(angles), 0, edge * np.cos(angles), alpha=0.15, color=line.get_color())
    for radius, label, style in ((sam(rho), "SAM", "-"), (monge(rho), "Monge SAM", "--"), (descent, "gradient descent", ":")):
        x, y = Instance(rho, 1.2).start(0.62)
        path = []
        for _ in range(300):
            path.append(((x + y) / math.sqrt(2), (x - y) / math.sqrt(2)))
            x, y = step(x, y, radius, rate=0.01)
        axes.plot(*zip(*path, strict=True), style, color="black", linewidth=1, label=f"path of {label}")
    axes.plot(0, 0, "k*", markersize=12, clip_on=False)
    axes.annotate("saddle", (0, 0), (0.04, 0.06))
    axes.set(
        xlabel="u = (x + y)/√2, downhill from the saddle", ylabel="v = (x − y)/√2, uphill", xlim=(-0.02, 1), ylim=(-0.02, 1.3)
    )
    axes.legend(loc="upper right", fontsize="small")


CLAIMS = {
    "M4": Claim(
        source="Jacobsen & Arvanitidis 2025, abstract, and the toy (1 − θ₁θ₂)²; at the same ρ",
        text="Monge SAM is less attracted to saddle points than SAM",
        tex=r"\{\theta_0 : \theta(t) \to 0\}_{\text{Monge SAM}} \subsetneq \{\theta_0 : \theta(t) \to 0\}_{\text{SAM}}",
        outcome=Outcome.HOLDS,
        check=check,
    ),
    "M4a": Claim(
        source="ours: the same, if SAM's radius is the length of Monge SAM's first step",
        text="it is so at matched length as well, and not only because the ball is smaller",
        tex=r"\theta_0 \text{ held by Monge SAM} \Rightarrow \theta_0 \text{ held by SAM with } \rho_{\text{SAM}}"
        r" = \rho / \sqrt{1 + \|g(\theta_0)\|^2}",
        outcome=Outcome.FAILS,
        check=check_matched,
        correction="off v = 0 Monge SAM, whose radius grows on the way to the saddle, holds starts that such a SAM does not",
        correction_tex=r"\exists\, \theta_0 :\ \theta_0 \text{ held by Monge SAM, and not by SAM with }"
        r" \rho_{\text{SAM}} = \rho / \sqrt{1 + \|g(\theta_0)\|^2}",
        smallest=Instance(1, 1),
    ),
}
