"""F6a, F6a.RANK. Is the Fisher positive definite? Not of a ReLU network, nor of any model with more parameters than outputs.

Claim F6a: Kim et al., Fisher SAM, ICML 2022, footnote 6: strict positive definiteness can be mildly assumed. The whole proof
inverts F: eq. 20 and the Gaussians N(θ, ρ²F⁻¹).
Verdict: fails. Every ReLU network has exact null directions at every parameter, whatever the data; and with n inputs and C
classes the Fisher of the batch is singular as soon as n(C−1) < k, whatever the parametrisation.
Claim F6a.RANK (ours): rank F ≤ min(k − 2h, n(C−1)) for o = A relu(Wx) with softmax, h hidden units, k = h(d + C). Holds.

Derivation. For c > 0, unit j may be rescaled, (Wⱼ, A·ⱼ) ↦ (cWⱼ, A·ⱼ/c), without a change of any output. The tangent at
c = 1 is (Wⱼ, −A·ⱼ); p is constant along it, so the score has no part in it, and F v = E[s ⟨s, v⟩] = 0. The softmax ignores
A·ⱼ ↦ A·ⱼ + t1: another null direction a unit. For the second bound F = (1/n) Σ Jᵢᵀ(diag p − ppᵀ)Jᵢ is a sum of n terms of
rank at most C − 1, as (diag p − ppᵀ)1 = 0. Damping, F + λI, is what everyone does; it is positive definite, and then R_j, the
priors and the posterior are no longer those of the statistical manifold along these directions, but of λ.
"""

from dataclasses import dataclass

import numpy as np
import sympy as sp

from theory.claim import Claim
from theory.drawing import Axes
from theory.pac_bayes.inputs import Matrix, rows
from theory.proof import prove
from theory.verdict import Outcome, Trial, Verdict, judge


def derive() -> dict[str, sp.Eq]:
    """Both invariances of one unit, as null directions of the scores; the rank of the softmax's own Fisher."""
    w, x, c = sp.symbols("w x c", positive=True)
    a = sp.symbols("a:2", real=True)
    outputs = [entry * w * x for entry in a]  # an active unit; of an idle one all derivatives vanish
    moved = [o.subs(w, c * w) for o in (entry / c * w * x for entry in a)]
    same = prove(sp.Matrix(moved), sp.Matrix(outputs))
    total = sum(sp.exp(o) for o in outputs)
    scores = [sp.log(sp.exp(o) / total) for o in outputs]
    scale = [s.diff(w) * w - sum(s.diff(e) * e for e in a) for s in scores]
    shift = [sum(s.diff(e) for e in a) for s in scores]
    p = sp.symbols("p:2", positive=True)
    probabilities = sp.Matrix([*p, 1 - sum(p)])
    own = sp.diag(*probabilities) - probabilities * probabilities.T
    return {
        r"\tfrac1c A_j\,\mathrm{relu}(c W_j x) = A_j\,\mathrm{relu}(W_j x)": same,
        r"\langle\nabla\log p(y),\ (W_j, -A_j)\rangle = 0": prove(sp.Matrix(scale), sp.zeros(2, 1)),
        r"\langle\nabla\log p(y),\ (0, \mathbf 1)\rangle = 0": prove(sp.Matrix(shift), sp.zeros(2, 1)),
        r"(\mathrm{diag}\,p - pp^\top)\mathbf 1 = 0": prove(own * sp.ones(3, 1), sp.zeros(3, 1)),
    }


@dataclass(frozen=True)
class Instance:
    """inputs: (n, d); hidden: W, (h, d); output: A, (C, h)."""

    inputs: Matrix
    hidden: Matrix
    output: Matrix

    def __post_init__(self) -> None:
        arrays = self.arrays
        if any(array.ndim != 2 or not array.size or not np.isfinite(array).all() for array in arrays):
            raise ValueError("inputs, hidden and output must be matrices of finite numbers, none of them empty; pass such.")
        x, W, A = arrays
        if x.shape[1] != W.shape[1] or A.shape[1] != W.shape[0] or len(A) < 2:
            shapes = f"{x.shape}, {W.shape}, {A.shape}"
            raise ValueError(f"The shapes {shapes} do not fit; pass (n, d), (h, d) and (C, h) with C of at least 2.")

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.array(self.inputs, float), np.array(self.hidden, float), np.array(self.output, float)

    @property
    def bound(self) -> int:
        """min(k − 2h, n(C−1))."""
        (n, d), (h, _), (C, _) = (array.shape for array in self.arrays)
        return min(h * (d + C) - 2 * h, n * (C - 1))


def instance(seed: int) -> Instance:
    """A network of up to four hidden units and three classes, with enough inputs, or with too few."""
    rng = np.random.default_rng(seed)
    n, d, h, C = int(rng.integers(1, 13)), int(rng.integers(1, 4)), int(rng.integers(1, 5)), int(rng.integers(2, 4))
    arrays = (rng.normal(size=shape) for shape in ((n, d), (h, d), (C, h)))
    return Instance(*map(rows, arrays))


def root(instance: Instance) -> np.ndarray:
    """G with F = GᵀG, (nC, k): F = (1/n) Σ Jᵀ(diag p − ppᵀ)J, parameters W then A, row by row."""
    x, W, A = instance.arrays
    (n, d), (C, h) = x.shape, A.shape
    active = x @ W.T > 0
    units = np.where(active, x @ W.T, 0)
    outputs = units @ A.T
    p = np.exp(outputs - outputs.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    first = np.einsum("cj,nj,nm->ncjm", A, active, x).reshape(n, C, h * d)
    second = np.einsum("ce,nj->ncej", np.eye(C), units).reshape(n, C, C * h)
    jacobian = np.concatenate([first, second], axis=2)
    centred = jacobian - np.einsum("nc,nck->nk", p, jacobian)[:, None]
    return (np.sqrt(p / n)[:, :, None] * centred).reshape(n * C, -1)


def slope(instance: Instance) -> float:
    """The largest entry that an output's Jacobian may have: what rounding in G is relative to, also where p is saturated."""
    x, W, A = instance.arrays
    return max(float(abs(A).max() * abs(x).max()), float(abs(x @ W.T).max()))


def rank(matrix: np.ndarray, scale: float) -> int:
    """Singular values above the rounding of entries of this scale."""
    values = np.linalg.svd(matrix, compute_uv=False)
    return int((values > 64 * max(matrix.shape) * np.finfo(float).eps * max(values[0], scale)).sum())


def null_directions(instance: Instance) -> np.ndarray:
    """(2h, k): the rescaling and the softmax shift of each unit."""
    _, W, A = instance.arrays
    (h, d), C = W.shape, len(A)
    directions = []
    for j in range(h):
        unit = np.arange(h) == j
        directions.append(np.concatenate([(unit[:, None] * W).ravel(), -(unit * A).ravel()]))
        directions.append(np.concatenate([np.zeros(h * d), (unit * np.ones((C, 1))).ravel()]))
    return np.array(directions)


def check(instance: Instance, altered: bool = False) -> Verdict:
    """F6a: the number of null directions, which should be none. Altered: of F + λI, λ = 1e-3 of its largest eigenvalue."""
    G = root(instance)
    k = G.shape[1]
    if altered:
        G = np.concatenate([G, np.sqrt(1e-3) * (np.linalg.norm(G, 2) or 1.0) * np.eye(k)])
    found = k - rank(G, 0.0 if altered else slope(instance))
    return judge([Trial(found, 0, f"k = {k}, n = {len(instance.inputs)}: F has {found} null directions")])


def check_rank(instance: Instance, altered: bool = False) -> Verdict:
    """F6a.RANK, and |F^½v| along the null directions in units of rounding. Altered: rank F ≥ min(k, n(C−1) + 1)."""
    G = root(instance)
    found, k = rank(G, slope(instance)), G.shape[1]
    case = f"k = {k}, h = {len(instance.hidden)}, n = {len(instance.inputs)}: rank F = {found}"
    if altered:
        wanted = min(k, len(instance.inputs) * (len(instance.output) - 1) + 1)
        return judge([Trial(wanted - found, 0, f"{case} < {wanted}")])
    directions = null_directions(instance)
    scale = (slope(instance) * abs(directions).max() or 1.0) * float(np.finfo(float).eps)
    lengths = float(abs(G @ directions.T).max() / scale)
    return judge([Trial(found - instance.bound, 0, case), Trial(lengths, 64 * k, f"{case}, but ‖v‖_F = {lengths:.3g} eps")])


def draw(axes: Axes) -> None:
    """The rank of F over the number of inputs, of a network with k = 35 parameters."""
    rng = np.random.default_rng(0)
    x, W, A = rng.normal(size=(24, 4)), rng.normal(size=(5, 4)), rng.normal(size=(3, 5))
    sizes = range(1, 25)
    cases = [Instance(*map(rows, (x[:n], W, A))) for n in sizes]
    axes.plot(sizes, [35] * 24, "C3", label="parameters k")
    axes.plot(sizes, [case.bound for case in cases], "C2--", label="min(k − 2h, n(C−1))")
    axes.plot(sizes, [rank(root(case), slope(case)) for case in cases], "C0.", label="rank F")
    axes.set(xlabel="inputs n", ylabel="d = 4, h = 5, C = 3", ylim=(0, 40))
    axes.legend(loc="lower right")


CLAIMS = {
    "F6a": Claim(
        source="Kim et al. 2022, footnote 6 and assumptions A.1, A.3",
        text="strict positive definiteness of the Fisher can be mildly assumed",
        tex=r"F(\theta) \succ 0",
        outcome=Outcome.FAILS,
        check=check,
        correction="two null directions a hidden unit in every ReLU softmax network, and rank at most n(C−1) on n inputs",
        correction_tex=r"\mathrm{rank}\,F \le \min(k - 2h,\ n(C-1))",
        smallest=Instance(((1.0,),), ((1.0,),), ((1.0,), (1.0,))),
    ),
    "F6a.RANK": Claim(
        source="ours, after Kim et al. 2022, footnote 6",
        text="A relu(Wx) with softmax: rank F ≤ min(k − 2h, n(C−1)), F v = 0 for the rescaling and the shift of each unit",
        tex=r"\mathrm{rank}\,F \le \min(k - 2h,\ n(C-1)), \quad F\,(W_j, -A_j) = 0",
        outcome=Outcome.HOLDS,
        check=check_rank,
    ),
}
