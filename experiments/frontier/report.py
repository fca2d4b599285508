"""The page: the figure, the table, and what they do not decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd

from geosam.ablation.report import Note, Page, Picture, Section, Table
from geosam.records import describe, spelled

from .figures import TITLES, draw
from .methods import EXACT, FLOOR, REFERENCE, SHARED
from .summary import Summary, directions, frontier


def page(s: Summary, parameters: Mapping[str, int]) -> Page:
    """parameters: by network."""
    training, looks = s.config.training, s.config.looks
    networks, source = (
        " and ".join(f"{TITLES.get(name, name)} of {n} parameters" for name, n in parameters.items()),
        s.config.source,
    )
    data = "scikit-learn’s digits" if source is None else source.data
    noise = training.label_noise if source is None else source.noise
    lead = (
        f"{networks} learn {data} by plain SGD, {noise:.0%} of the labels wrong. At epochs "
        f"{_listed(looks.epochs)}, on batches of {training.batch}, every approximation of the Fisher information F gives its "
        "perturbation ε*, and a float64 copy of the network judges it."
    )
    words = (
        "Higher is a larger first-order rise for the same KL, left is cheaper. Efficiency is ⟨g, ε⟩/(‖g‖* √(2 KL)), with ε "
        "scaled along its own ray to the KL of its panel; ‖g‖* is the dual norm of the true Fisher **without** damping. As "
        f"KL → 0 it is at most 1; at a KL that is not small it may be larger. Filled: damping {SHARED.ratio} × the mean of "
        "the approximation’s own diagonal. Hollow above it, where there is one: the best of the dampings "
        f"{_listed([SHARED.ratio, *looks.ratios])}. Grey: nothing at the same time or less does better at that shared "
        "damping. KLExact has the direction of the norm that it goes along and is in the table only; so “full, exact” "
        "stands for both."
    )
    return Page(
        "Approximations of the Fisher information, and what they cost",
        lead,
        Picture("frontier", words, partial(draw, s), partial(draw, s, narrow=True)),
        table(s),
        reached(s),
        [
            Section("Not beaten at the same time or less", [f"{text}." for text in edges(s)]),
            Section("How to read the table", terms(s)),
            Section("What decides nothing here", [caution(s)]),
        ],
        [geometries(s), "SGD, its schedule and the data are those of the comparison, without warm-up."],
        said(s),
    )


def reached(s: Summary) -> Note:
    """What the exact Fisher reaches, and why not more."""
    found = reach(s)
    low, high = found.pop("local")
    words = [f"At KL = {kl} it is {least:.2f} to {most:.2f}." for kl, (least, most) in found.items()]
    words.append(
        "‖g‖*² is close to the mean of 1/p(label) − 1, so that a few labels the model finds improbable rule it, and F⁻¹g "
        "goes after them. They are soon no longer improbable, and the direction has then spent its advantage; and F⁻¹g is "
        "long where F is small, so that the outputs bend along it. The expansion that makes F the best geometry holds only "
        "below some KL, which may be smaller than any that training uses; more damping widens its range."
    )
    return Note(f"The exact Fisher’s efficiency as KL → 0: {low:.4f} to {high:.4f}", words)


def terms(s: Summary) -> list[str]:
    """What the columns are."""
    return [
        f"**Which exact.** The cosine is that with ♯g of `{spelled(describe(EXACT))}` in float64, solved by its Gram matrix: "
        "the true Fisher with the damping that all share. The undamped Fisher is singular here, and gives no direction to "
        f"take a cosine with; what it gives is ‖g‖*, by which efficiencies are measured (λ at {s.config.looks.limit} of the "
        "mean diagonal, float64). A small cosine and a large efficiency do not contradict each other: in directions that F "
        "hardly sees, two perturbations may differ as they like.",
        "**Spent over budget.** KL(ε*) at ρ = √(2 KL), over that KL. Far from 1 the radius is no KL budget in that "
        "geometry, and the same ρ there is another experiment. It does not enter the figure.",
        "**Time and memory** are of one perturbation (first pass, geometry, solution), at the last checkpoint, as a ratio "
        "to Euclidean perturbations between them in the same process, in shuffled order. The Euclidean one differs from "
        f"itself by {s.noise:.0%}: smaller differences than that mean nothing. A SAM step has a second pass and an update as "
        "well, so its ratio is smaller. Conjugate gradients pay for `Relative` damping with an exact trace of F before they "
        "begin; a number for λ saves that.",
    ]


def caution(s: Summary) -> str:
    """In words."""
    looks, seeds = s.config.looks, len(s.config.seeds)
    return (
        f"{seeds} seed{'s' if seeds > 1 else ''} and {looks.batches} batch{'es' if looks.batches > 1 else ''} a checkpoint "
        "are medians, not intervals. Efficiency is a property of one step at one point: nothing here says that a more "
        "efficient perturbation trains to a better model, and `python -m experiments compare` is where that is looked at. "
        f"The exact Fisher is cheap here because {s.config.training.batch} × 10 rows are few and the network is small; with "
        "more classes or outputs its rows exceed their limit and conjugate gradients take over. Fixed costs of calls rule "
        f"the times of networks this small. Dampings are {1 + len(looks.ratios)} values, not an optimum. Monte Carlo rows "
        "show one draw of labels a look."
    )


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def table(s: Summary) -> Table:
    """A row a network and method."""
    epochs, kls = s.config.looks.epochs, s.config.looks.kls
    head = ["network, method"]
    head += [f"efficiency at {kl:g}, epoch {epoch}" for kl in kls for epoch in epochs]
    head += [f"best damping at {kls[-1]:g}, last", "cosine to exact", f"KL spent / budget, {kls[-1]:g}", "time", "MB"]
    rows = []
    for network in s.networks:
        at = {(kl, epoch): s.points(network, epoch, kl) for kl in kls for epoch in epochs}
        held = s.costs[s.costs["network"] == network].groupby("method")["bytes"].median()
        for name in at[kls[0], epochs[0]].index:
            each = [at[kls[-1], epoch].loc[name] for epoch in epochs]
            rows.append(
                [
                    f"{TITLES[network]}, {name}",
                    *(_text(at[kl, epoch].loc[name, "efficiency"]) for kl in kls for epoch in epochs),
                    _best(each[-1]),
                    _span([row["cosine"] for row in each], "{:.2f}"),
                    _span([row["spent"] for row in each], "{:.2g}"),
                    f"{each[0]['time']:.1f}",
                    f"{held[name] / 1e6:.1f}",
                ]
            )
    note = (
        "Medians over seeds and batches. Cosines, spent and time: lowest to highest, or median, over checkpoints. MB: the "
        "most that one perturbation holds at once, its forward and backward pass included."
    )
    return Table(note, head, rows)


def geometries(s: Summary) -> Table:
    """Every metric as it is written in Python."""
    rows = [[m.name, spelled(describe(m.metric))] for m in s.config.methods]
    return Table("What the names mean.", ["name", "metric"], rows)


def edges(s: Summary) -> list[str]:
    """At each network and KL, in words: who is not beaten at the same time or less, at the last checkpoint."""
    epoch, found = s.config.looks.epochs[-1], []
    for network in s.networks:
        for kl in s.config.looks.kls:
            edge = frontier(directions(s, network, epoch, kl))
            path = ", ".join(f"{name} ({row['efficiency']:.2f} at {row['time']:.1f}×)" for name, row in edge.iterrows())
            found.append(f"{TITLES[network]} after {epoch} epochs at KL = {kl:g}: {path}")
    return found


def reach(s: Summary) -> dict[str, tuple[float, float]]:
    """At each KL the least and the largest efficiency of the exact Fisher over networks and checkpoints; "local": as KL → 0."""
    mine = s.looks[(s.looks["method"] == REFERENCE) & (s.looks["shared"])]
    found = {"local": (float(mine["local"].min()), float(mine["local"].max()))}
    for kl in s.config.looks.kls:
        values = mine[mine["kl"] == kl]["efficiency"]
        found[f"{kl:g}"] = (float(values.min()), float(values.max()))
    return found


def said(s: Summary) -> list[str]:
    """For a terminal."""
    low, high = reach(s)["local"]
    return [
        f"exact Fisher as KL → 0: efficiency {low:.4f} to {high:.4f}",
        *edges(s),
        f"{FLOOR} against itself: {s.noise:.1%} in time",
    ]


def _text(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.2f}"


def _span(values: Sequence[float], form: str) -> str:
    known = [value for value in values if not pd.isna(value)]
    return f"{form.format(min(known))} – {form.format(max(known))}" if known else "–"


def _best(row: pd.Series) -> str:
    if pd.isna(row["best"]):
        return "–"
    return _text(row["best"]) + ("" if pd.isna(row["best_ratio"]) else f" (λ {row['best_ratio']:g})")
