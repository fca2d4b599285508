"""The page: the paper's figures again, the counts, and the rules by which they were made."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd

from geosam.ablation.report import Note, Page, Picture, Section, Table
from theory.toy_ends import End, landscape
from theory.toy_loss import CAPTION

from .config import LOSSES, MATCHED, NAMES, Hunt
from .figures import basins, by_radius, shares
from .paths import banana, figure_1, paths
from .result import Found
from .style import ORDER, WORDS
from .summary import NO_RADIUS, Counts, Summary

DRAWN = (
    "Diamond: start; square: last iterate; yellow: the neighbourhood at some iterates, drawn to the scale above the panel; "
    "cyan: ε* to the same scale; red: the update’s direction."
)


def page(s: Summary) -> Page:
    """All of it."""
    lead = (
        "Kim et al. (ICML 2022, section 3.1) fit a Gaussian N(μ, σ²) to a loss with a flat and a sharp minimum, and show "
        "one start from which Fisher SAM heads for the flat minimum while SAM goes to the sharp one, and one for ASAM. "
        "Starts, learning rates and radii are not given. Here the figures are drawn again, and six methods are run at "
        f"{s.config.settings:,} random settings in each of two designs."
    )
    return Page(
        "The toy of Fisher SAM, again",
        lead,
        _shown("by_radius", of_radius(s), by_radius, s),
        radius_table(s),
        wins(s),
        [
            Section("Rules, fixed before counting", rules(s)),
            Section("Figure 1: which loss is it?", [_shown("figure_1", LOSS, figure_1), minima_table()]),
            Section("Figures 2 and 3: settings found by search", [found(s, 2), found(s, 3)]),
            Section("Counts", [_shown("shares", COUNTED, shares, s), *(ends_table(s, *pair) for pair in s.pairs())]),
            Section("FSAM against SAM and ASAM", [duels(s), *(duel_table(s, rival) for rival in ("SAM", "ASAM"))]),
            Section("By radius and start", [parts_table(s, loss, rival) for loss in LOSSES for rival in ("SAM", "ASAM")]),
            Section("Where each method ends, from every start", [MAPS, *(_map(s, name) for name in NAMES)]),
            Section("Monge SAM’s banana", [_shown("banana", BANANA, banana)]),
        ],
        said=said(s),
        beside={"summary.json": s.filed()},
    )


LOSS = (
    "Star: flat minimum; dot: sharp minimum; cross: saddle; circles: the minima that the paper prints. Its numbers belong "
    "to energies KL + ½, the Gaussian KL without its −½ (first); eq. 15 as printed has others (second)."
)
COUNTED = (
    "All settings of a loss and a design. Monge’s ε* hardly differs from SAM’s here, for the gradient is small and its "
    "radius is ρ/√(1 + ‖g‖²). Hatched: FSAM’s first ε* leaves σ > 0, and no KL ball’s is as long."
)
MAPS = "The figure’s loss, own radii; a pixel a start, a panel a learning rate and a ρ; the cross is the saddle."
BANANA = (
    "l = (1 − θ₁θ₂)², its saddle at the origin; lr 0.01. Orange: still within ρ/2 of the saddle over the last quarter of "
    "4,000 steps. A saddle holds SAM within about ρ of it; Monge’s radius ρ/√(1 + ‖g‖²) is smaller where the loss is steep "
    "and the same where it is flat, so the saddle holds it too, from fewer starts."
)


def wins(s: Counts) -> Note:
    """FSAM and SAM on the figure's loss, by design."""
    table = s.duels()
    mine = table[(table["where"] == "all") & (table["rival"] == "SAM") & (table["loss"] == "the figure's")]
    counts = [
        f"{t.design}: {t.wins} : {t.losses} at the minima, {t.crossed} : {t.recrossed} on their sides"
        for t in mine.itertuples()
    ]
    return Note(
        f"FSAM flat and SAM sharp, against the reverse, {'; '.join(counts)}",
        [
            "The count that comes out depends on the radius, on how radii are matched and on what counts as reaching a "
            "minimum. At a constant radius large enough to cross the pass, FSAM goes on circling beside the saddle, on the "
            "flat minimum’s side; it is then not in the flat minimum."
        ],
    )


def rules(s: Summary) -> list[str]:
    """In words."""
    ranges, small = s.config.ranges, s.config.small
    return [
        f"A run is θ ← θ − lr ∇l(θ + ε*) with constant lr and ρ, for {ranges.steps} steps. An iterate or a probe θ + ε* with "
        "σ ≤ 0 ends the run as **left σ > 0**; nothing is clipped. With constant ρ only gradient descent converges to a "
        "point; so where a run ends is told from its second half. It is **at** a minimum or the saddle if the mean of each "
        "half of that half lies within a tenth of the distance r from the saddle to the nearer minimum, and if all of it "
        "stays in the minimum’s component of {l < l(saddle)}, or within r/2 of the saddle. It is on a minimum’s **side** if "
        "all of it stays in that component, but not at the minimum: gradient descent from there would lead to it. The rest "
        "is **unsettled**. The rules apply in the order left, saddle, minima, sides; a run that fits two counts as the "
        "first.",
        f"Settings: μ uniform in {_range(ranges.mu)}, σ uniform from the saddle’s to {ranges.top:g} (“large”), lr "
        f"log-uniform in {_range(ranges.lr)}, FSAM’s ρ uniform in {_range(ranges.rho)}. **Own radii**: every method takes "
        "this ρ in its own metric; the paper gives none, and equal numbers are our choice. **Equal first steps**: the "
        "others take the ρ at which their first ε* has the Euclidean length of FSAM’s; where that leaves σ > 0 no KL ball "
        f"has such a length, and KL has **no such radius**. The numbers are drawn by seeds 0 to {s.config.seeds - 1}. A "
        f"third of that many again has small |μ|: μ in {_range(small.mu)}, σ up to {small.top:g}, ρ in {_range(small.rho)}.",
    ]


def found(s: Summary, figure: int) -> Picture:
    """Figure 2 or 3."""
    hunts = [(job, result) for job, result in s.found.items() if job.figure == figure]
    said = " ".join(
        f"**{'As the paper has it' if job.won else 'The reverse'}.** {caption(job, result)}" for job, result in hunts
    )
    first = DRAWN if figure == 2 else "The same for ASAM, from starts with |μ| ≤ 5."
    return _shown(f"figure_{figure}", f"{first} {said}", paths, hunts)


def of_radius(s: Summary) -> str:
    """In words."""
    return (
        "Own radii, all random settings on the figure’s loss. A Euclidean ρ of 2.5 is small here, where distances are tens, "
        "and SAM is nearly gradient descent. FSAM’s ρ is in units of σ. The largest shares of its runs, by the ranges of ρ "
        f"below: in the flat minimum {most(s, End.FLAT)}; at the saddle {most(s, End.SADDLE)}; in the flat minimum or on its "
        f"side {most(s, End.FLAT, End.FLAT_SIDE)}; left σ > 0 {most(s, End.LEFT)}, for from √2 (dashed) on its ε* may reach "
        "down to −ρσ/√2 and past 0. The exact KL ball (KL) never leaves: its KL is infinite at σ = 0."
    )


def duels(s: Summary) -> str:
    """In words."""
    table = s.duels()
    mine = table[(table["where"] == "all") & (table["rival"] == "SAM") & (table["design"] == MATCHED)]
    counts = [
        f"on {t.loss} loss {t.wins} : {t.losses} at the minima, {t.crossed} : {t.recrossed} on their sides"
        for t in mine.itertuples()
    ]
    return (
        "“The reverse” exchanges the two methods. The paper’s reading wants the last column to be 100 %: where its rival "
        "ends in the sharp minimum, FSAM should reach the flat one; here its side is enough. Runs of FSAM that are "
        "unsettled are left out of it, and those that left σ > 0 count against. With equal first steps the minima and their "
        f"sides may answer differently. FSAM : SAM {'; '.join(counts)}."
    )


def _map(s: Summary, name: str) -> Picture:
    return _shown(f"map_{name}", f"{name}.", basins, s, name)


def _shown(name: str, words: str, draw: Callable[..., Any], *arguments: Any) -> Picture:
    return Picture(name, words, partial(draw, *arguments))


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:g} … {ends[1]:g}".replace("-", "−")


def minima_table() -> Table:
    """The critical points under both readings of eq. 15."""
    rows = []
    for name, (mu, sigma, value, trace) in CAPTION.items():
        rows.append([f"{name}, as printed", f"({mu}, {sigma})", str(value), str(trace)])
        for title, loss in LOSSES.items():
            point = getattr(landscape(loss), name)
            numbers = [f"({point[0]:.4f}, {point[1]:.4f})", f"{loss.look(point)[0]:.4f}"]
            rows.append([f"{name}, {title}", *numbers, f"{loss.hessian(point).trace():.6f}"])
    for title, loss in LOSSES.items():
        land = landscape(loss)
        trace = loss.hessian(land.saddle).trace()
        rows.append([f"saddle, {title}", f"({land.saddle[0]:.4f}, {land.saddle[1]:.4f})", f"{land.level:.4f}", f"{trace:.6f}"])
    return Table("Minima and saddle by Newton’s method.", ["point", "(μ, σ)", "l", "Hessian trace"], rows)


def ends_table(s: Summary, loss: str, design: str) -> Table:
    """Counts of every end by method."""
    table = s.ends(loss, design)
    rows = [
        [str(name), *(f"{row[column]:,}" for column in (*(end.name for end in ORDER), NO_RADIUS))]
        for name, row in table.iterrows()
    ]
    total = int(table.iloc[0].sum())
    note = f"{loss}, {design}: {total:,} settings; at {s.converged(loss, design):,} of them every method’s run settled."
    return Table(note, ["method", *(WORDS[end] for end in ORDER), NO_RADIUS], rows)


def radius_table(s: Counts) -> Table:
    """The shares of FSAM's ends by ρ, on the figure's loss with own radii."""
    rows = []
    for where, row in s.by_radius().iterrows():
        total = int(row.sum())
        rows.append([str(where), f"{total:,}", *(f"{row[end.name] / total:.1%}" if total else "–" for end in ORDER)])
    return Table("Where FSAM’s runs end, by ρ.", ["ρ of FSAM", "settings", *(WORDS[end] for end in ORDER)], rows)


def most(s: Summary, *kinds: End) -> str:
    """The range of ρ from which the largest share of FSAM's runs ends so, and that share."""
    table = s.by_radius()
    shares = (table[[end.name for end in kinds]].sum(axis=1) / table.sum(axis=1)).dropna()
    return f"{shares.max():.0%} at ρ {shares.idxmax()}"


HEAD = [
    "FSAM flat min., rival sharp min.",
    "the reverse",
    "FSAM flat side, rival sharp side",
    "the reverse",
    "part of the first, 95 %",
    "rival at sharp min.",
    "of these FSAM on flat side, 95 %",
]


def duel_table(s: Summary, rival: str) -> Table:
    """FSAM against one rival over all settings, and for ASAM over those of small |μ|."""
    table = s.duels()
    table = table[(table["rival"] == rival) & table["where"].isin(["all", "small |μ|"])]
    rows = [[f"{r['loss']}, {r['design']}, {r['where']}", *cells(r)] for _, r in table.iterrows()]
    return Table(f"FSAM against {rival}; intervals of Clopper and Pearson.", ["settings", *HEAD], rows)


def parts_table(s: Summary, loss: str, rival: str) -> Table:
    """The same by ranges of FSAM's ρ and of the start's σ."""
    table = s.duels()
    table = table[(table["rival"] == rival) & (table["loss"] == loss) & table["where"].str.match("ρ|σ")]
    rows = [[f"{r['where']}, {r['design']}", *cells(r)] for _, r in table.iterrows()]
    return Table(f"FSAM against {rival} on {loss} loss, by FSAM’s ρ and by σ of the start.", ["settings", *HEAD], rows)


def cells(row: pd.Series) -> list[str]:
    """The numbers of a duel."""
    counts = [f"{row[name]:,}" for name in ("wins", "losses", "crossed", "recrossed")]
    return [*counts, _share(row, "share", "low", "high"), f"{row['sharp']:,}", _share(row, "then", "then_low", "then_high")]


def _share(row: pd.Series, value: str, low: str, high: str) -> str:
    return "–" if pd.isna(row[value]) else f"{row[value]:.1%} ({row[low]:.1%} – {row[high]:.1%})"


def caption(job: Hunt, found: Found) -> str:
    """The setting of a row of figure 2 or 3, in words."""
    if not found.of:
        return "No setting of the grid ends this way, under any protocol."
    (mu, sigma), where = found.start, "at its minimum" if found.strict else "at its minimum or on its side"
    steps = f"{found.depth} grid step{'s' if found.depth > 1 else ''}"
    return (
        f"Start ({mu:g}, {sigma:g}), learning rate {found.lr:g}, ρ = {found.rho:.3g} for FSAM and {found.rival_rho:.3g} for "
        f"{job.rival} ({found.protocol}). Of the {found.among:,} settings that were tried at this learning rate, {found.of:,} "
        f"end this way, each method {where}. Shown is the one that lies deepest among them, {steps} from the nearest that ends "
        "otherwise or from the edge of the grid."
    )


def said(s: Summary) -> list[str]:
    """For a terminal."""
    table = s.duels()
    return [
        f"{row['loss']}, {row['design']}, FSAM : {row['rival']}  at the minima {row['wins']} : {row['losses']}, "
        f"on their sides {row['crossed']} : {row['recrossed']}"
        for _, row in table[table["where"] == "all"].iterrows()
    ]
