"""I. The invariance table: in which parameters ε* is the same perturbation.

A map θ = f(φ) of the parameters, with derivative B at φ, turns a model of θ into one of φ. Claim of a row in a column:
"yes": ε*_θ = B ε*_φ for every model and map of the kind: ε* transforms as a tangent vector. (Of the two rows that end in
an argmax, the point does: θ + ε*_θ = f(φ + ε*_φ).) "outputs": F is singular, many ε are as good, and only what ε* does to
the outputs is determined; that transforms, ε* itself does not. "no": not even that. "none": there is no argmax.

Derivation. In φ the gradient is Bᵀg and the Fisher matrices are BᵀFB. So F⁻¹g and ⟨g, F⁻¹g⟩ transform whatever the map:
B (BᵀFB)⁻¹ Bᵀg = F⁻¹g. A metric that does not become BᵀGB cannot: I becomes I, I + ggᵀ becomes I + Bᵀg gᵀB, F + λI
becomes BᵀFB + λI, which is BᵀGB if B is orthogonal and not otherwise. The diagonal of BᵀFB is B²diag(F) if B is diagonal,
at one point or everywhere: so undamped diagonals, ḡ² included, follow σ ↦ log σ too. |θ|² becomes B²|φ|² only if B is one
scaling everywhere, and +η spoils it. The two symmetries are diagonal maps with θ = f(φ) linear.

Singular F. In a ReLU net (w, b, −v) of a unit is in ker F: its scale is no property of the model. F⁻¹ is then F⁺, which
the limit of small damping selects by its length in the parameters at hand. Its complement of ker F moves with B only if
B keeps it orthogonal to B ker F; scales before BatchNorm do, for w ↦ sw scales a unit's kernel and complement alike, and
node-wise rescaling does not. J F⁺ g depends on the range of J alone, which no map of the parameters changes.

Points. KL on a ray is solved for a length, and a straight ray in φ is curved in θ: yes under linear maps only, and not
where a finite step along ker F changes outputs. For the argmax over the KL ball see ``kl_argmax``: it is invariant
for the loss, which is a function on models, and not for the linearised loss, which is linear in one chart.
"""

from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from theory.claim import Claim
from theory.drawing import Axes
from theory.invariance.cells import BOUNDLESS, FAR, GEOMETRIES, NO, NONE, OUTPUTS, YES, Gap, resolved
from theory.invariance.counterexamples import COUNTEREXAMPLES
from theory.invariance.proofs import derive
from theory.invariance.transformations import KINDS, Case, gaussian, rescalable
from theory.verdict import Outcome, Trial, Verdict, judge, undecided

__all__ = ["CLAIMS", "COLUMNS", "IDS", "TABLE", "Instance", "check", "derive", "draw", "instance", "rows"]

COLUMNS = tuple(KINDS)


@dataclass(frozen=True)
class Stated:
    """A row as it is claimed: what it is called, the cells in the order of COLUMNS, and who claims what about it."""

    title: str
    cells: str
    source: str = "ours"

    @property
    def answers(self) -> dict[str, str]:
        words = {"+": YES, "o": OUTPUTS, "-": NO, "0": NONE}
        return {column: words[cell] for column, cell in zip(COLUMNS, self.cells.split(), strict=True)}


ASAM = "Kwon et al. 2021, ASAM: invariant under scaling that leaves the network's function alone"
FISHER = "Kim et al. 2022, section 3: ε* reflects the geometry of the statistical manifold, not of the parameters"
KIM = "Kim et al. 2022, eq. 12 and algorithm 1, for the same purpose as Fisher's matrix"
#     rotation, diagonal; node-wise, BatchNorm; smooth; log σ, natural, mean
TABLE = {
    "euclidean": Stated("Euclidean", "+ - - - - - - -", "Foret et al. 2021; Jacobsen & Arvanitidis 2025 say no"),
    "parameter_scaled": Stated("|θ|, η = 0", "- + + + - - - -", ASAM),
    "parameter_scaled_weights": Stated("|θ|, η = 0, matrices only", "- - - + - - - -", ASAM),
    "parameter_scaled_eta": Stated("|θ|, η > 0", "- - - - - - - -", ASAM),
    "gradient_magnitude": Stated("ḡ²", "- + + + - + - -", KIM),
    "gradient_magnitude_damped": Stated("ḡ², damped", "- - - - - - - -", KIM),
    "diagonal_empirical": Stated("empirical Fisher diagonal", "- + + + - + - -", "Kim et al. 2022, eq. 11"),
    "diagonal_empirical_damped": Stated("empirical Fisher diagonal, damped", "- - - - - - - -", "Kim et al. 2022, eq. 11"),
    "diagonal_fisher": Stated("Fisher diagonal", "- + + + - + - -"),
    "empirical_fisher": Stated("empirical Fisher", "+ + o + + + + +", FISHER),
    "empirical_fisher_damped": Stated("empirical Fisher, damped", "+ - - - - - - -", FISHER),
    "empirical_fisher_relative": Stated("empirical Fisher, damped relatively", "+ - - - - - - -", FISHER),
    "fisher": Stated("Fisher", "+ + o + + + + +", FISHER),
    "fisher_damped": Stated("Fisher, damped", "+ - - - - - - -", FISHER),
    "monge": Stated("Monge", "+ - - - - - - -", "Jacobsen & Arvanitidis 2025, abstract: reparametrisation-invariant"),
    "sup": Stated("sup norm", "- - - - - - - -"),
    "spectral": Stated("spectral norm", "- - - - - - - -"),
    "kl_ray": Stated("KL on Fisher's ray", "+ + - + - - - -", "Kim et al. 2022, eq. 6"),
    "kl_argmax_linearised": Stated(
        "KL argmax, linearised loss", "+ + 0 0 - - - -", "Kim et al. 2022, eq. 6, linearised as in eq. 2"
    ),
    "kl_argmax": Stated("KL argmax, loss", "+ + o o + + + +", "Kim et al. 2022, eq. 6"),
}
IDS = {key: f"I{number}" for number, key in enumerate(TABLE, 1)}


@dataclass(frozen=True)
class Instance:
    """A case for some of the columns, or for all."""

    cases: tuple[Case, ...]

    def __post_init__(self) -> None:
        columns = [case.column for case in self.cases]
        if not columns or len(set(columns)) < len(columns):
            raise ValueError(f"Cases for {columns or 'no column'}; pass at least one, and one a column.")


def instance(seed: int) -> Instance:
    """A model and a map for every column; parameters keep clear of zero, where |θ| has no inverse."""
    rng = np.random.default_rng(seed)
    return Instance(tuple(_case(column, rng) for column in COLUMNS))


def _case(column: str, rng: np.random.Generator) -> Case:
    kind, n = KINDS[column], int(rng.integers(8, 13))
    if kind.model is gaussian:
        mu, sigma = rng.normal(), np.exp(rng.normal() / 2)
        charts = {"log σ": (mu, np.log(sigma)), "natural": (mu / sigma**2, -0.5 / sigma**2), "mean": (mu, mu**2 + sigma**2)}
        return Case(column, np.zeros((n, 0)), rng.normal(mu, 1.5 * sigma, n), np.array(charts[column]), np.zeros(0))
    d, hidden = (2 if column == "BatchNorm" else int(rng.integers(1, 3))), int(rng.integers(1, 3))
    if kind.sizes is None:
        p, numbers = hidden * (d + 1 + (kind.model is rescalable)) + 1, np.exp(rng.normal(size=hidden))
    else:
        p, numbers = d + 1, rng.normal(size=kind.sizes(d + 1))
    phi = rng.choice([-1, 1], p) * rng.uniform(0.4, 1.2, p)
    return Case(column, rng.normal(size=(n, d)), rng.normal(size=n), phi, numbers)


@cache
def stored(key: str, column: str) -> Gap | None:
    """The gap at the column's stored counterexample."""
    return GEOMETRIES[key].gap(COUNTEREXAMPLES[column])


def shortfall(key: str, column: str, answer: str, found: Gap | None) -> Trial:
    """A cell that is not "yes" survives if this case or the stored one shows it. Error: what is missing to FAR."""
    gaps = [gap for gap in (found, stored(key, column)) if gap is not None]
    sizes = {OUTPUTS: "tangent", NO: "image"}
    shown = max((g.rise / BOUNDLESS * FAR if answer == NONE else getattr(g, sizes[answer]) for g in gaps), default=0.0)
    return Trial(
        max(0.0, FAR - shown), 0.0, f"{TABLE[key].title} under {column}: no case shows '{answer}', {shown:.3g} at most"
    )


def check(key: str, instance: Instance, altered: bool = False) -> Verdict:
    """A row: each "yes" and "outputs" must survive the instance, each other cell be shown by it or by the stored case.

    Errors are distances relative to ε*, and to what it does to the outputs. Tolerances are 64 eps times entries of the
    Jacobian times condition. Altered: the cell under diagonal maps is turned round.
    """
    answers = dict(TABLE[key].answers)
    if altered:
        answers["diagonal"] = NO if answers["diagonal"] == YES else YES
    trials, positive = [], 0
    for case in instance.cases:
        answer, gap = answers[case.column], GEOMETRIES[key].gap(case)
        if answer in (YES, OUTPUTS) and gap is not None and resolved(case):
            as_tangent = answer == YES and gap.determined
            error, allowed = (gap.tangent, gap.allowed[0]) if as_tangent else (gap.image, gap.allowed[1])
            trials.append(Trial(error, allowed, f"{TABLE[key].title} under {case.column}: {gap}"))
            positive += 1
        if answer != YES and (answer, key) != (OUTPUTS, "kl_argmax"):  # an orbit of argmaxes: nothing is left to show
            trials.append(shortfall(key, case.column, answer, gap))
    if not positive and {YES, OUTPUTS} & {answers[case.column] for case in instance.cases}:
        return undecided("a case at which this ε* exists, and rounding does not hide it")
    return judge(trials)


@dataclass(frozen=True)
class Cell:
    """What a run found. worst_error: of "yes" and "outputs"; counterexample: of what else there is."""

    answer: str
    worst_error: float
    counterexample: str = ""


@dataclass(frozen=True)
class Row:
    """A row as a run found it."""

    id: str
    title: str
    source: str
    cells: dict[str, Cell]


def rows(instances: int = 3) -> list[Row]:
    """The table as these instances and the stored counterexamples find it; '?' where they contradict each other."""
    drawn = [{case.column: case for case in instance(seed).cases} for seed in range(instances)]
    return [
        Row(IDS[key], stated.title, stated.source, {c: _cell(key, c, [cases[c] for cases in drawn]) for c in COLUMNS})
        for key, stated in TABLE.items()
    ]


def _cell(key: str, column: str, cases: list[Case]) -> Cell:
    """The least that any case leaves of "yes": what one refutes, the others cannot restore."""
    every = [stored(key, column), *(GEOMETRIES[key].gap(case) for case in cases)]
    gaps = [gap for gap in every if gap is not None and gap.determined]
    against = next((gap for answer in (NONE, NO, OUTPUTS) for gap in gaps if gap.answer == answer), None)
    answer = (against and against.answer) or (YES if gaps and all(gap.answer == YES for gap in gaps) else "?")
    errors = [gap.image if answer == OUTPUTS else gap.tangent for gap in gaps] if answer in (YES, OUTPUTS) else []
    return Cell(answer, max(errors, default=np.nan), str(against) if against else "")


def draw(axes: Axes) -> None:
    """The table, as it was just found."""
    found, colours = rows(instances=1), {YES: "#b7dfc0", OUTPUTS: "#dcebb0", NO: "#f3bdb5", NONE: "#d0d0d0", "?": "white"}
    for y, row in enumerate(found):
        for x, cell in enumerate(row.cells.values()):
            axes.fill([x, x + 1, x + 1, x], [y, y, y + 1, y + 1], color=colours[cell.answer], ec="white", lw=2)
            axes.text(x + 0.5, y + 0.5, cell.answer, ha="center", va="center", fontsize=7)
    axes.set(xlim=(0, len(COLUMNS)), ylim=(len(found), 0), xlabel="does ε* transform as a tangent vector under …?")
    axes.set_xticks(np.arange(len(COLUMNS)) + 0.5, COLUMNS, rotation=35, ha="left", fontsize=7)
    axes.set_yticks(np.arange(len(found)) + 0.5, [row.title for row in found], fontsize=7)
    axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)


def _claim(key: str, stated: Stated) -> Claim:
    groups = {answer: [c for c, a in stated.answers.items() if a == answer] for answer in (YES, OUTPUTS, NO, NONE)}
    words = {YES: "invariant under", OUTPUTS: "in the outputs only", NO: "not under", NONE: "no argmax under"}
    parts = [f"{words[a]} {', '.join(cs) if len(cs) < len(COLUMNS) else 'any'}" for a, cs in groups.items() if cs]
    signs = {YES: r"\checkmark", OUTPUTS: r"\sim", NO: r"\times", NONE: r"\nexists"}
    names = {"log σ": r"\log\sigma"} | {c: rf"\text{{{c}}}" for c in COLUMNS if c != "log σ"}
    tex = r",\ ".join(f"{names[c]}: {signs[a]}" for c, a in stated.answers.items())
    return Claim(
        source=stated.source,
        text=f"ε* of {stated.title}: " + "; ".join(parts),
        tex=rf"\epsilon^*_\theta = \tfrac{{\partial\theta}}{{\partial\phi}}\, \epsilon^*_\phi?\quad {tex}",
        outcome=Outcome.HOLDS,
        check=partial(check, key),
    )


CLAIMS = {IDS[key]: _claim(key, stated) for key, stated in TABLE.items()}
