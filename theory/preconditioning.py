"""P1. One preconditioned form holds every SAM variant whose ball is an ellipsoid, and no other.

Claim P1: Zhang, Li, Giannakis, Preconditioned SAM, 2025 (arXiv 2501.06603), abstract: preconditioning unifies the SAM
variants. Public summaries add the names, constraint and objective preconditioning; its formula was not available. The form
judged here is ours, with D for the objective and C for the constraint, and "the variants" is every ball considered here:
    ε* = argmax ⟨Dg, ε⟩ subject to ‖Cε‖ ≤ ρ,    ε* = ρ (CᵀC)⁻¹Dg/‖C⁻ᵀDg‖,
by Cauchy and Schwarz in ⟨Dg, ε⟩ = ⟨C⁻ᵀDg, Cε⟩. C has full column rank, and is tall if convenient. The pairs:
    SAM (I, I) · ASAM (I, diag 1/|w|) · filter-wise ASAM (I, diag 1/‖w_f‖) · FSAM (I, F^½), F full or diagonal
    Monge SAM (I, [I; gᵀ]) · a joint ball with a radius ρ_l a layer (I, diag 1/ρ_l) · SAM on norm layers (their projector, I)
    VaSSO (the weights of the average, on the stacked gradients so far; I) · infoSAM (diag 1/(b + λ), I), b = (m − g)², the
    formula of a draft: exponent and damping are not confirmed.
Verdict: holds with a correction. The form is odd in g, and along Dg under a linear map, so that
    g₃ = αg₁ + βg₂  ⟹  ε(g₃) ∈ span(ε(g₁), ε(g₂)),    ε(−g) = −ε(g),
and what violates either has no pair (D, C). A ball that normalises parts of g separately (sup norm: its coordinates;
a ball for each layer; spectral norm: its singular directions) returns the same ε when parts are scaled by positive factors,
and another one when a sign changes: the first law fails. The KL ball is not symmetric, KL(t) = ½A″t² + ⅓A‴t³ + … by F2: the
second fails. Both laws are for D and C that do not depend on g. Monge SAM's C and infoSAM's D do: they count with g in them
held fixed. Held fixed for every ball, g gives a pair to any ε with ⟨g, ε⟩ > 0: some G > 0 has Gε = g, and C = diag √|g| gives
the sup norm's sign g.

Claim P1a: ⟨g, ε*⟩ = ρ‖g‖*, as without D. Verdict: holds with a correction: ⟨Dg, ε*⟩ = ρ‖Dg‖* for ‖c‖* = ‖C⁻ᵀc‖. The
first-order rise ⟨g, ε*⟩ is smaller, unless Dg ∥ g.
"""

import numpy as np
import sympy as sp

from theory.claim import Claim
from theory.drawing import Axes
from theory.preconditioners import Instance, formulas, instance
from theory.proof import prove
from theory.separate_norms import asymmetry, balls, defect
from theory.unit import unit
from theory.verdict import Outcome, Trial, Verdict, judge, undecided

__all__ = ["CLAIMS", "Instance", "check", "check_rise", "derive", "draw", "formulas", "instance", "preconditioned"]


def derive() -> dict[str, sp.Eq]:
    """The form in every dimension; two laws and what breaks them; a metric for every ascent direction; the smaller rise."""
    n = sp.Symbol("n", integer=True, positive=True)
    C, D, g = sp.MatrixSymbol("C", n, n), sp.MatrixSymbol("D", n, n), sp.MatrixSymbol("g", n, 1)
    form = (C.T * C).inverse().doit() * D * g
    feasible = prove(C * form, C.T.inverse() * D * g)
    rise = prove((D * g).T * form, (C.T.inverse() * D * g).T * (C.T.inverse() * D * g))

    p, q, a, b = sp.symbols("p q a b", positive=True)
    pair = sp.Matrix([[p, 1], [1, q]])  # columns g₁ and g₂, with the same signs
    linear = sp.Matrix([[a, b], [a, b]]) * pair.inv()  # takes both to the line of (1, 1), as ♯ of the sup norm does
    mixed = linear * (pair[:, 0] - pair[:, 1])  # and g₁ − g₂, of whatever signs, as well
    logit, t = sp.symbols("theta t", real=True)
    partition = sp.log(1 + sp.exp(logit))
    mean = partition.diff(logit)
    kl = partition - partition.subs(logit, logit + t) + mean.subs(logit, logit + t) * t
    third = kl.diff(t, 3).subs(t, 0) / 6

    x, e = sp.Matrix(sp.symbols("g:3", real=True)), sp.Matrix(sp.symbols("e:3", real=True))
    secant = sp.eye(3) - e * e.T / e.dot(e) + x * x.T / x.dot(e)
    first, second = sp.symbols("d:2", positive=True)
    x2, weighted = sp.Matrix(x[:2]), sp.Matrix([first * x[0], second * x[1]])
    gap = x2.dot(x2) * weighted.dot(weighted) - x2.dot(weighted) ** 2
    return {
        r"C\,(C^\top C)^{-1} D g = C^{-\top} D g": feasible,
        r"\langle Dg, (C^\top C)^{-1} Dg\rangle = \|C^{-\top} D g\|^2": rise,
        r"A g_1, A g_2 \parallel (1, 1) \;\Rightarrow\; A(g_1 - g_2) \parallel (1, 1)": prove(mixed[0], mixed[1]),
        r"\tfrac1{3!} \partial_t^3 \mathrm{KL}(p_{\theta+t} \| p_\theta) = \tfrac13 \mu (1 - \mu)(1 - 2\mu)"
        r" \text{ for a coin of mean } \mu": prove(third, mean * (1 - mean) * (1 - 2 * mean) / 3),
        r"\Bigl(I - \frac{\epsilon\epsilon^\top}{\|\epsilon\|^2} + \frac{gg^\top}{\langle g, \epsilon\rangle}\Bigr)"
        r" \epsilon = g": prove((secant * e).applyfunc(sp.cancel), x),
        r"\|g\|^2 \|Dg\|^2 - \langle g, Dg\rangle^2 = (d_1 - d_0)^2 g_0^2 g_1^2": prove(
            gap, (second - first) ** 2 * x[0] ** 2 * x[1] ** 2
        ),
    }


def preconditioned(D: np.ndarray, stacked: np.ndarray, C: np.ndarray, altered: bool = False) -> np.ndarray:
    """(CᵀC)⁻¹Dg/‖C⁻ᵀDg‖, from C = QR, where CᵀC = RᵀR. Altered: C⁻¹ in place of (CᵀC)⁻¹."""
    _, upper = np.linalg.qr(C)
    covector = unit(D @ stacked)
    white = covector if altered else np.linalg.solve(upper.T, covector)
    return np.linalg.solve(upper, unit(white))


def check(instance: Instance, altered: bool = False) -> Verdict:
    """P1: each variant's own formula is the form with its pair, and each ball outside violates a law of the form.

    Altered: the form with C⁻¹ in place of (CᵀC)⁻¹. Errors of variants: relative to the length of ε, against rounding at
    the condition of CᵀC. Of balls outside: rounding over the defect, at most 1; as printed, the defect itself.
    """
    if not all(instance.gradient[part].any() for part in instance.layers):
        return undecided("a gradient in both layers: with one part there is nothing to normalise apart")
    trials, stacked = [], instance.rows.astype(float).ravel()
    for name, (D, C, own) in formulas(instance).items():
        rounding = 64 * len(own) * float(np.finfo(float).eps) * float(np.linalg.cond(C)) ** 2
        if not (rounding < 1e-3 and own.any()):
            continue  # no digit of this variant can be promised, or its objective is zero
        error = float(np.linalg.norm(preconditioned(D, stacked, C, altered) - own) / np.linalg.norm(own))
        trials.append(Trial(error, rounding, f"{name}: the form is off its formula by {error:.3g}"))
    first, second = (instance.gradient[part].astype(float) for part in instance.layers)
    outside = {name: defect(*case) for name, case in balls(first, second, tuple(instance.weights[:2])).items()}
    outside["KL ball"] = asymmetry(instance.logit)
    trials += [Trial(1e-9 / max(e, 1e-300), 1.0, f"{name}: may have a pair, {e:.3g} off") for name, e in outside.items()]
    printed = [Trial(e, 1e-9, f"{name}: ε leaves what a pair (D, C) allows by {e:.3g}") for name, e in outside.items()]
    return judge(trials, printed)


def check_rise(instance: Instance, altered: bool = False) -> Verdict:
    """P1a for infoSAM's D and C of SAM, ASAM and FSAM: ⟨Dg, ε*⟩ = ρ‖Dg‖* ; and ⟨g, ε*⟩ ≤ ρ‖g‖*, printed as equal.

    Altered: ⟨g, ε*⟩ = ρ‖Dg‖*. Errors are relative.
    """
    g = unit(instance.gradient.astype(float))
    D = np.diag(instance.precision / instance.precision.max())
    weighted = D @ g
    trials, printed = [], []
    for name in ("SAM", "ASAM", "FSAM, diagonal"):
        C = formulas(instance)[name][1]
        rounding = 64 * len(g) * float(np.finfo(float).eps) * float(np.linalg.cond(C)) ** 2
        if not rounding < 1e-3:
            continue
        epsilon = preconditioned(D, g, C)
        dual = {key: float(np.linalg.norm(np.linalg.solve(C.T, c))) for key, c in (("g", g), ("Dg", weighted))}
        paired, rise = float(weighted @ epsilon), float(g @ epsilon)
        error = abs((rise if altered else paired) / dual["Dg"] - 1)
        share = rise / dual["g"]
        trials.append(Trial(error, rounding, f"C of {name}: ⟨Dg, ε*⟩ is off ρ‖Dg‖* by {error:.3g}"))
        trials.append(Trial(share, 1 + rounding, f"C of {name}: ⟨g, ε*⟩ = {share:.6g} ρ‖g‖*"))
        printed.append(Trial(abs(share - 1), rounding, f"C of {name}, D = infoSAM's: ⟨g, ε*⟩ = {share:.6g} ρ‖g‖*"))
    return judge(trials, printed)


def draw(axes: Axes) -> None:
    """Which way ε points for a gradient turned round the circle: linear for an ellipse, in steps for the sup norm."""
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)[1:]
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    C, D = np.diag([1.0, 2.0]), np.diag([1.0, 3.0])
    own, identity = (np.array([preconditioned(D_, g, C) for g in circle]) for D_ in (D, np.eye(2)))
    degrees = np.degrees(angles)
    names = "SAM", "C = diag(1, 2)", "C = diag(1, 2), D = diag(1, 3)", "sup norm: no pair (D, C)"
    for vectors, label, style in zip((circle, identity, own, np.sign(circle)), names, ("-", "--", "-.", ":"), strict=True):
        axes.plot(degrees, np.degrees(np.unwrap(np.arctan2(vectors[:, 1], vectors[:, 0]))), style, label=label)
    axes.set(xlabel="angle of g", ylabel="angle of ε*", xticks=range(0, 361, 90), yticks=range(0, 361, 90))
    axes.legend(loc="upper left")


CLAIMS = {
    "P1": Claim(
        source="Zhang, Li, Giannakis 2025, abstract; the form is ours",
        text="one form, with preconditioners D of the objective and C of the constraint, unifies the SAM variants;"
        " read as: every ball considered here",
        tex=r"\epsilon^* = \arg\max_{\|C\epsilon\| \le \rho} \langle Dg, \epsilon\rangle"
        r" = \rho\, \frac{(C^\top C)^{-1} D g}{\|C^{-\top} D g\|}",
        outcome=Outcome.CORRECTED,
        check=check,
        correction="those with an ellipsoid for a ball; sup norm, a ball a layer, spectral norm and KL ball have no pair",
        correction_tex=r"\epsilon(\alpha g_1 + \beta g_2) \in \mathrm{span}(\epsilon(g_1), \epsilon(g_2)),"
        r"\quad \epsilon(-g) = -\epsilon(g)",
        smallest=Instance(np.array([[1, 1]]), np.array([1, 1])),
    ),
    "P1a": Claim(
        source="ours: what the dual norm is under an objective preconditioner",
        text="⟨g, ε*⟩ = ρ‖g‖* in the preconditioned form",
        tex=r"\langle g, \epsilon^*\rangle = \rho \|g\|_*,\quad \|c\|_* = \|C^{-\top} c\|",
        outcome=Outcome.CORRECTED,
        check=check_rise,
        correction="⟨Dg, ε*⟩ = ρ‖Dg‖*; the rise ⟨g, ε*⟩ is less than ρ‖g‖* unless Dg ∥ g",
        correction_tex=r"\langle Dg, \epsilon^*\rangle = \rho \|Dg\|_*,\quad \langle g, \epsilon^*\rangle \le \rho \|g\|_*",
        smallest=Instance(np.array([[0, 0], [1, 2]]), np.array([1, 1])),
    ),
}
