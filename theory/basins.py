"""F9, F9.asam, F9.side. Where SAM, ASAM and Fisher SAM end on the toy loss: which basin is reached depends on the radius.

Claim F9: Kim et al., Fisher SAM, ICML 2022, section 3.1 and figure 2: from a start of large σ, "FSAM finds the flat minimum"
where SAM converges to the sharp one. Claim F9.asam, figure 3: where |μ| is small as well, ASAM reaches the sharp one. Claim
F9.side, the same by basins: FSAM's exploration is "helping us move toward the flat minimum".
The paper gives no starts, learning rates or radii. Read as: at equal ρ, each in its method's own metric, from every start
with σ above the saddle's, SAM's (for |μ| ≤ 5 ASAM's) ending in the sharp minimum implies FSAM's ending in the flat one; for
F9.side, SAM's ending on the sharp one's side, at it or not, FSAM's ending on the flat one's, from where gradient descent
leads to it. Runs of FSAM that do not settle count neither way.
Verdict: F9 and F9.side hold with a correction, for some radii and learning rates. FSAM may as well end beside the saddle on
either side, be held at it, end in the sharp minimum, or leave the domain. In the flat minimum itself, with SAM in the sharp
one, it ends at lr of about 350 to 450 and ρ of about 0.8 (the sharp minimum is stable for gradient descent below lr = 492);
at lr from 30 to 200 in none of the 27,000 random settings of experiments/toy. F9.asam fails: at equal ρ and small |μ|,
where ASAM ends in the sharp minimum, FSAM is in no setting drawn even on the flat side. So figure 2 is found at equal ρ,
figure 3 with a ρ of ASAM's that is a tenth of FSAM's: with lr = 400 at the minima, with lr = 100 by sides. There are
settings where FSAM ends on the sharp side and the other in the flat minimum: against SAM with ρ such that the first ε* are
equally long, against ASAM at equal ρ. With equally long first ε*, the counts of experiments/toy are FSAM : SAM 0 : 3 and
0 : 14 at the minima (on the figure's loss, and on eq. 15 as printed), so FSAM loses; and 321 : 14 and 87 : 17 on their
sides, so it wins. The loss here is that of figure 1 (theory/toy_loss.py), with energies KL + ½.

The dynamics are in theory/toy_dynamics.py; theory/toy_ends.py states the rules by which an end is classified.

Derivation. ‖ε*‖_F = ρ is ε_μ² + 2ε_σ² = ρ²σ², and so ε_σ ≥ −ρσ/√2: below ρ = √2 FSAM's probe cannot leave σ > 0, from
there on it does where ∇l points that way. The KL ball never does: its KL is infinite at σ + ε_σ = 0.
Held at the saddle: along its downhill direction l = −½κx² and ε* = −ρ sign x, the probe lies across the saddle for |x| < ρ,
and the step leads back: x − lr ∂l(x + ε*) = x − lr κ(ρ − |x|) sign x. What is held within ρ for SAM is for FSAM held within
about ρσ, twenty times as much at equal ρ. At a probe beyond the saddle's ball the gradient is that of the other basin.
As ρ grows FSAM thus ends where gradient descent does; at the saddle from up to two starts in five (ρ from 0.6 to 0.8); for ρ
from 0.9 to 1.2 on the flat side from nearly every start, beside the saddle from about three in four of them and at the
minimum from the rest; past √2 out of the domain, or on the sharp side.
Assumptions: the loss's Hessian has one negative eigenvalue at the saddle; starts inside the domain, with ∇l ≠ 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import sympy as sp

from theory.claim import Claim
from theory.drawing import Axes
from theory.proof import prove
from theory.toy_dynamics import METHODS, radius_of_length, side_by_side
from theory.toy_ends import End, ends, landscape
from theory.toy_loss import OF_THE_FIGURE
from theory.verdict import Outcome, Trial, Verdict, judge, undecided

SMALL_MU = 5.0
STEPS = 200


def derive() -> dict[str, sp.Eq]:
    """How far down a Fisher ball reaches; KL along its rays; the step of FSAM near a saddle, in one dimension."""
    u, v, b, x = sp.symbols("u v b x", real=True)  # the gradient is (u, v)
    sigma, rho, t, kappa, lr = sp.symbols("sigma rho t kappa eta", positive=True)
    inverse = sp.diag(sigma**2, sigma**2 / 2)
    g = sp.Matrix([u, v])
    epsilon = rho * inverse * g / sp.sqrt((g.T * inverse * g)[0])
    depth = prove(rho**2 * sigma**2 / 2 - epsilon[1] ** 2, epsilon[0] ** 2 / 2)

    a = sp.sqrt(1 - 2 * b**2)
    moved = sigma * (1 + t * b)
    kl = sp.log(sigma / moved) + (moved**2 + (sigma * t * a) ** 2) / (2 * sigma**2) - sp.Rational(1, 2)
    ray = prove(sp.expand_log(kl, force=True), t**2 * (1 - b**2) / 2 + t * b - sp.log(1 + t * b))
    convex = prove(kl.diff(t, 2), 1 - b**2 + b**2 / (1 + t * b) ** 2)

    y = sp.Symbol("y", positive=True)  # |x|
    slope = (-kappa * x**2 / 2).diff(x)
    probe = y + (rho * sigma**2 * slope / sp.sqrt(sigma**2 * slope**2)).subs(x, y)  # Fisher's 1/σ²; SAM's is σ = 1
    back = prove(y - lr * slope.subs(x, probe), y - lr * kappa * (rho * sigma - y))
    return {
        r"\tfrac12 \rho^2\sigma^2 - \epsilon_\sigma^2 = \tfrac12 \epsilon_\mu^2 \text{ for FSAM}": depth,
        r"\mathrm{KL}(t) = \tfrac12 (1 - b^2)\,t^2 + tb - \log(1 + tb),\ b = \epsilon_\sigma/\sigma t": ray,
        r"\mathrm{KL}''(t) = 1 - b^2 + \tfrac{b^2}{(1+tb)^2}": convex,
        r"x - \eta\, l'(x + \epsilon^*) = x - \eta\kappa(\rho\sigma - x)"
        r" \text{ for } l = -\tfrac12\kappa x^2,\ F = \sigma^{-2},\ x > 0": back,
    }


@dataclass(frozen=True)
class Instance:
    """Settings, a column each: starts θ (2, n) with σ above the saddle's, learning rates and radii (n,)."""

    theta: np.ndarray
    lr: np.ndarray
    rho: np.ndarray

    def __post_init__(self) -> None:
        n = np.size(self.lr)
        if n < 1 or (np.shape(self.theta), np.shape(self.lr), np.shape(self.rho)) != ((2, n), (n,), (n,)):
            raise ValueError("Settings are columns: pass theta (2, n), lr (n,) and rho (n,) with n ≥ 1.")
        if not np.isfinite([*self.theta, self.lr, self.rho]).all() or not min(np.min(self.lr), np.min(self.rho)) > 0:
            raise ValueError("Starts, learning rates and radii must be finite, and the last two positive.")
        if not np.min(self.theta[1]) > landscape(OF_THE_FIGURE).saddle[1]:
            raise ValueError("The claim is about starts of large σ; start above the saddle, at σ > 21.62.")


def instance(seed: int) -> Instance:
    """24 settings with μ in −40 … 0, and 104 with |μ| ≤ 5 and small ρ, where ASAM does reach the sharp minimum at times."""
    rng = np.random.default_rng(seed)
    low = landscape(OF_THE_FIGURE).saddle[1] + 1e-3
    wide = rng.uniform(-40, 0, 24), rng.uniform(low, 60, 24), rng.uniform(0.05, 1.6, 24)
    small = rng.uniform(-SMALL_MU, 0, 104), rng.uniform(low, 26, 104), rng.uniform(0.02, 0.4, 104)
    mu, sigma, rho = (np.concatenate(pair) for pair in zip(wide, small, strict=True))
    return Instance(np.stack([mu, sigma]), 10 ** rng.uniform(np.log10(80), np.log10(160), len(mu)), rho)


@dataclass(frozen=True)
class Example:
    """A setting of FSAM with ρ = rho, of the other method with ρ = other, and where the two end."""

    start: tuple[float, float]
    lr: float
    rho: float
    other: float
    ends: tuple[End, End]


def at_equal_length(name: str, start: tuple[float, float], rho: float) -> float:
    """The method's radius at which its first ε* is as long as FSAM's with ``rho``."""
    theta = np.array(start, float)[:, None]
    g = OF_THE_FIGURE.gradient(theta)
    length = np.hypot(*METHODS["FSAM"](theta, g, np.array([rho])))
    return float(radius_of_length(name, theta, g, length)[0])


@cache
def examples(name: str) -> tuple[Example, ...]:
    """FSAM crosses to the flat side; it is held at the saddle; the other reaches the flat minimum; FSAM does, SAM sharp."""
    if name == "SAM":
        turned = (-9.0, 22.4)
        return (
            Example((-25.0, 36.0), 100.0, 1.1, 1.1, (End.FLAT_SIDE, End.SHARP)),
            Example((-25.0, 36.0), 100.0, 0.5, 0.5, (End.SADDLE, End.SHARP)),
            Example(turned, 100.0, 1.3, at_equal_length(name, turned, 1.3), (End.SHARP_SIDE, End.FLAT)),
            Example((-25.0, 36.0), 400.0, 0.82, 0.82, (End.FLAT, End.SHARP)),
        )
    return (
        Example((-5.0, 22.0), 100.0, 0.9, 0.1, (End.FLAT_SIDE, End.SHARP)),
        Example((-5.0, 22.0), 100.0, 0.2, 0.2, (End.SADDLE, End.SHARP)),
        Example((-4.7, 25.5), 150.0, 0.025, 0.025, (End.SHARP, End.FLAT)),
        Example((-5.0, 22.0), 400.0, 0.8, 0.08, (End.FLAT, End.SHARP)),
    )


def check(instance: Instance, altered: bool = False) -> Verdict:
    """F9 on every setting where SAM ends in the sharp minimum; our examples are run as well. Error 1: not as stated.

    Besides, −√2 ε_σ/(ρσ) ≤ 1 at every start. Altered: there and in the examples FSAM ends in the sharp minimum too.
    """
    return _corrected(instance, lambda end: end, altered)


def check_side(instance: Instance, altered: bool = False) -> Verdict:
    """F9.side: the same on every setting where SAM ends on the sharp minimum's side, at the minimum or not."""
    return _corrected(instance, lambda end: end.side, altered)


def check_asam(instance: Instance, altered: bool = False) -> Verdict:
    """F9.asam on every setting with |μ| ≤ 5 where ASAM ends in the sharp minimum. Error 1: FSAM not in the flat one.

    Altered: FSAM ends anywhere but on the flat minimum's side, at the minimum or not.
    """
    small = np.abs(instance.theta[0]) <= SMALL_MU
    if not small.any():
        return undecided(f"a start with |μ| ≤ {SMALL_MU:g}")
    chosen = Instance(instance.theta[:, small], instance.lr[small], instance.rho[small])
    met = _against_sharp(chosen, "ASAM", lambda end: end)
    if not met:
        return undecided("a setting at which ASAM ends in the sharp minimum and FSAM's run settles")
    return judge([_trial(case, end.side is not End.FLAT_SIDE if altered else end is End.FLAT) for end, case in met])


def _corrected(instance: Instance, view: Callable[[End], End], altered: bool) -> Verdict:
    """FSAM beside SAM, ends seen as minima or as sides."""
    met = _against_sharp(instance, "SAM", view)
    if altered:
        met += [(ran[0], f"{x}") for x, ran in examples_run() if view(ran[1]) is view(End.SHARP)]
        return judge([_trial(case, view(end) is view(End.SHARP)) for end, case in met])
    if not met:
        return undecided(f"a setting at which SAM ends {view(End.SHARP).name} and FSAM's run settles")
    with np.errstate(all="ignore"):
        g = OF_THE_FIGURE.gradient(instance.theta)
        down = -METHODS["FSAM"](instance.theta, g, np.ones(g.shape[1]))[1] / instance.theta[1]
    probes = [
        Trial(np.sqrt(2) * x, 1 + 1e-14, f"setting {k}: FSAM's ε_σ = −{x:.6g} ρσ is beyond −ρσ/√2")
        for k, x in enumerate(down.tolist())
        if np.isfinite(g[:, k]).all()
    ]
    ours = [_trial(f"{x} ends {ran}", ran == x.ends) for x, ran in examples_run()]
    return judge([*probes, *ours], printed=[_trial(case, view(end) is view(End.FLAT)) for end, case in met])


def _against_sharp(instance: Instance, name: str, view: Callable[[End], End]) -> list[tuple[End, str]]:
    """FSAM's end at every setting where the other method's is sharp at equal ρ and FSAM's run settles; the setting in words."""
    met: list[tuple[End, str]] = []
    for k, (mine, other) in enumerate(_both_ends(name, instance.theta, instance.lr, instance.rho, instance.rho)):
        if view(other) is view(End.SHARP) and mine is not End.UNSETTLED:
            (mu, sigma), lr, rho = instance.theta[:, k], instance.lr[k], instance.rho[k]
            where = f"(μ, σ) = ({mu:.4g}, {sigma:.4g}), lr = {lr:.4g}, ρ = {rho:.4g}"
            met.append((mine, f"{where}: FSAM ends {mine.name}, {name} {other.name}"))
    return met


def _both_ends(name: str, theta: np.ndarray, lr: np.ndarray, rho: np.ndarray, other: np.ndarray) -> list[tuple[End, End]]:
    """Where FSAM with rho, and the method of this name with the other radii, end."""
    both = side_by_side(METHODS["FSAM"], METHODS[name])
    found = ends(OF_THE_FIGURE, both, np.hstack([theta, theta]), np.tile(lr, 2), np.append(rho, other), STEPS)
    return [(End(a), End(b)) for a, b in found.reshape(2, -1).T]


@cache
def examples_run() -> tuple[tuple[Example, tuple[End, End]], ...]:
    """The examples against SAM and against ASAM, and where their runs end."""
    ran: list[tuple[Example, tuple[End, End]]] = []
    for name in ("SAM", "ASAM"):
        shown = examples(name)
        lr, rho, other = np.transpose([(x.lr, x.rho, x.other) for x in shown])
        ran += zip(shown, _both_ends(name, np.transpose([x.start for x in shown]), lr, rho, other), strict=True)
    return tuple(ran)


def _trial(case: str, survives: bool) -> Trial:
    return Trial(float(not survives), 0.0, case)


def draw(axes: Axes) -> None:
    """Where FSAM and SAM end, by their common ρ and the σ of the start at μ = −10."""
    rho, sigma = np.meshgrid(np.linspace(0.01, 1.6, 80), np.linspace(22, 40, 72))
    n, both = rho.size, side_by_side(METHODS["FSAM"], METHODS["SAM"])
    theta = np.tile([np.full(n, -10.0), sigma.ravel()], 2)
    found = ends(OF_THE_FIGURE, both, theta, np.full(2 * n, 100.0), np.tile(rho.ravel(), 2), 2 * STEPS)
    mine, theirs = found.reshape(2, *rho.shape)
    flat, sharp = (np.isin(mine, kinds) for kinds in ((End.FLAT, End.FLAT_SIDE), (End.SHARP, End.SHARP_SIDE)))
    kinds = {
        "both in the flat minimum": ("#0072b2", (mine == End.FLAT) & (theirs == End.FLAT)),
        "FSAM on the flat side, SAM flat": ("#9ecae1", (mine == End.FLAT_SIDE) & (theirs == End.FLAT)),
        "FSAM on the flat side, SAM sharp": ("#009e73", flat & (theirs == End.SHARP)),
        "FSAM on the sharp side": ("#cc79a7", sharp),
        "FSAM at the saddle": ("#e69f00", mine == End.SADDLE),
        "FSAM left σ > 0": ("#4d4d4d", mine == End.LEFT),
    }
    image = np.full((*rho.shape, 3), 0.85)
    for name, (colour, where) in {**kinds, "another pair": ("#d9d9d9", np.zeros(rho.shape, bool))}.items():
        image[where] = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        axes.plot([], [], "s", ms=8, color=colour, label=name)
    axes.imshow(image, origin="lower", extent=(0, 1.61, 21.9, 40.1), aspect="auto")
    axes.axvline(np.sqrt(2), color="white", ls="--")
    axes.set(xlabel="ρ, the same for both (dashed: √2)", ylabel="σ of the start", title="starts at μ = −10")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2, fontsize="small", frameon=False)


def _single(start: tuple[float, float], lr: float, rho: float) -> Instance:
    return Instance(np.array(start)[:, None], np.array([lr]), np.array([rho]))


CLAIMS = {
    "F9": Claim(
        source="Kim et al. 2022, section 3.1 and figure 2",
        text="from a start of large σ, FSAM reaches the flat minimum where SAM reaches the sharp one",
        tex=r"\sigma_0 \text{ large}:\quad \theta^{\mathrm{SAM}}_k \to \theta^{\text{sharp}}"
        r"\;\Rightarrow\; \theta^{\mathrm{FSAM}}_k \to \theta^{\text{flat}}",
        outcome=Outcome.CORRECTED,
        check=check,
        correction="for some radii and learning rates (ρ = 0.8 at lr = 400); for others FSAM ends beside the saddle on the flat"
        " or the sharp side, is held at it, ends in the sharp minimum, or leaves σ > 0",
        correction_tex=r"\exists\,\rho, \eta:\ \theta^{\mathrm{SAM}}_k \to \theta^{\text{sharp}},\ "
        r"\theta^{\mathrm{FSAM}}_k \to \theta^{\text{flat}};\quad \epsilon_\sigma \ge -\rho\sigma/\sqrt2",
        smallest=_single((-3.0, 22.0), 100.0, 1.0),
    ),
    "F9.asam": Claim(
        source="Kim et al. 2022, section 3.1 and figure 3",
        text="from a start of large σ and small |μ|, FSAM reaches the flat minimum where ASAM reaches the sharp one",
        tex=r"\sigma_0 \text{ large},\ |\mu_0| \text{ small}:\quad \theta^{\mathrm{ASAM}}_k \to \theta^{\text{sharp}}"
        r"\;\Rightarrow\; \theta^{\mathrm{FSAM}}_k \to \theta^{\text{flat}}",
        outcome=Outcome.FAILS,
        check=check_asam,
        correction="at equal ρ, where ASAM ends in the sharp minimum, FSAM is held at the saddle, or ends in the sharp minimum"
        " or on the sharp side: in no setting drawn even on the flat side; with a tenth of FSAM's ρ for ASAM FSAM may end flat",
        correction_tex=r"\theta^{\mathrm{ASAM}}_k \to \theta^{\text{sharp}}"
        r"\;\not\Rightarrow\; \theta^{\mathrm{FSAM}}_k \to \theta^{\text{flat}}",
        smallest=_single((-3.0, 22.0), 100.0, 0.1),
    ),
    "F9.side": Claim(
        source="Kim et al. 2022, section 3.1 and figures 2 and 3",
        text="from a start of large σ, FSAM ends on the flat minimum's side where SAM ends on the sharp one's",
        tex=r"\sigma_0 \text{ large}:\quad \theta^{\mathrm{SAM}}_k \in B^{\text{sharp}}"
        r"\;\Rightarrow\; \theta^{\mathrm{FSAM}}_k \in B^{\text{flat}} \quad (k \text{ large}, B \text{ the basins})",
        outcome=Outcome.CORRECTED,
        check=check_side,
        correction="for some radii, and against ASAM with a larger ρ than ASAM's; for others FSAM is held at the saddle or ends"
        " on the sharp side, or leaves σ > 0; and there are radii for which FSAM ends on the sharp side, the other method flat",
        correction_tex=r"\exists\,\rho:\ \theta^{\mathrm{SAM}}_k \in B^{\text{sharp}},\ "
        r"\theta^{\mathrm{FSAM}}_k \in B^{\text{flat}};\quad \epsilon_\sigma \ge -\rho\sigma/\sqrt2",
        smallest=_single((-3.0, 22.0), 100.0, 0.5),
    ),
}
