"""The page: what each figure and table shows, and how to read it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from geosam.ablation.report import Block, Note, Page, Picture, Section, Table
from geosam.records import describe, spelled

from .figures import accuracy, overview, step_time
from .methods import PUBLISHED, REFERENCE
from .snapshots import budget, cosines, cosines_by_number, efficiency, gap_to_sam, layers
from .summary import SAME, Summary
from .training import accuracy_in_training, spent_in_training

COLOURS = "Red is SAM’s own direction (1 − cos below 10⁻³ in every snapshot), blue another geometry, grey plain SGD."
COUNTS = {1: "One seed decides", 2: "Two seeds decide", 3: "Three seeds decide"}


def page(s: Summary, parameters: int) -> Page:
    """All figures and tables that the records allow. parameters: of the network."""
    training, calibration = s.config.training, s.config.calibration
    lead = (
        f"A CNN of {parameters} parameters learns scikit-learn’s handwritten digits from {training.train_size} images, "
        f"{training.label_noise:.0%} of them with a wrong label, and is tested on the {1797 - training.train_size} others. "
        "Only the geometry of the perturbation ε* changes. No radius is tuned: each is the one at which ε* has a KL of "
        f"{calibration.kl} nats after the {training.warmup} epochs of SGD with which every run begins."
    )
    words = f"Rows are methods, columns four questions, a point a seed or a snapshot. {COLOURS}"
    looked = not s.looks.empty
    sections = [
        *(directions(s) if looked else []),
        compute(s),
        *(radius(s) if s.sams else []),
        *(nats(s) if looked else []),
        cost(s),
        Section("Radii", [radius_table(s)]),
    ]
    setup: list[Block] = [protocol(s), geometry_table(s), settings_table(s)]
    if s.refused:
        setup.append(f"Left out of a snapshot because the target KL is not reached: {'; '.join(s.refused)}.")
    return Page(
        "Geometries of SAM, side by side",
        lead,
        _shown(overview, s, words),
        accuracy_table(s),
        published(s),
        sections,
        setup,
        said(s),
    )


def published(s: Summary) -> Note | None:
    """How far the published Fisher SAM is from SAM."""
    gap = s.published_gap()
    if gap is None:
        return None
    looks = len(s.angles[["seed", "epoch"]].drop_duplicates())
    return Note(
        f"{PUBLISHED} {'is SAM' if gap < SAME else 'differs from SAM here'}: 1 − cos ≤ {gap:.1e}",
        [
            f"The cosine is that between the two ε*, its worst over {looks} snapshots, at equal KL. This is Fisher SAM in "
            "the setting of its paper’s section 5, G = diag(1 + g²): entries of g are small, so that G is nearly the "
            "identity and ε* nearly SAM’s own. Its accuracy beside SAM’s shows how far apart two runs of the same method "
            "come out."
        ],
    )


def directions(s: Summary) -> list[Section]:
    """Cosines."""
    left = _shown(
        gap_to_sam,
        s,
        "Left is SAM, right is something else; the axis is logarithmic and the shaded part is below 10⁻³. Each point is one "
        "snapshot (a seed and an epoch along the Euclidean run). Monge scales SAM’s ε* and KLExact along a metric scales that "
        "metric’s, so they coincide up to rounding by construction.",
    )
    right = _shown(
        cosines,
        s,
        "The cosine between the ε* of row and column, averaged over seeds and snapshots. 1 means the same direction, 0 none "
        "in common. Between geometries whose cell is 1 only the radius differs.",
        narrow=cosines_by_number,
    )
    return [Section("Which geometries move in another direction at all?", [left, right])]


def compute(s: Summary) -> Section:
    """Accuracy."""
    count = len(s.config.seeds)
    caution = (
        f"**{COUNTS.get(count, f'{count} seeds decide')} nothing.** They show how far one run is from the next; differences "
        "of that size are not a ranking."
    )
    last = _shown(
        accuracy,
        s,
        "A point is a seed, the bar their mean; seeds are paired: equal initial weights, equal order of batches. SAM "
        "evaluates two gradients a step, so the fair SGD is the one with twice the steps. The hollow SGD has half the "
        "compute. KLExact adds forward passes and the per-sample geometries more: their cost is under step time.",
    )
    words = (
        "Each line is a seed, dashed the mean of Euclidean SAM; equal places on the axis are equal compute, except for SGD "
        "with half of it."
    )
    if s.config.training.label_noise:
        words += (
            " Where a curve falls again, the network is learning the wrong labels by heart: what a perturbation does here is "
            "mostly to hinder that, and stopping early would help every method that falls."
        )
    return Section("Accuracy at equal compute", [caution, last, _shown(accuracy_in_training, s, words)])


def radius(s: Summary) -> list[Section]:
    """KL spent."""
    spent = _shown(
        spent_in_training,
        s,
        "Each line is a seed: the KL that ε* spends with the run’s fixed radius, over the KL it was calibrated to, on the "
        f"{s.config.calibration.batches} calibration batches. At 1 the radius means what it meant where it was calibrated. "
        "The dashed line is the mean of Euclidean SAM’s. KLExact measures KL at every step and stays at 1.",
    )
    return [Section("Does a radius keep its meaning?", [spent])]


def nats(s: Summary) -> list[Section]:
    """Efficiency, budget, layers."""
    first = _shown(
        efficiency,
        s,
        "The first-order rise ⟨g, ε⟩ over the most that any ε with the same KL could have, ‖g‖* √(2 KL) with the dual norm "
        "of the undamped Fisher. To first order it is at most 1, and the undamped Fisher reaches it; at this KL the "
        "expansion is not exact, so points above 1 are possible. A point is a seed. A higher efficiency is not a better "
        "optimizer.",
    )
    second = _shown(
        budget,
        s,
        "KL(ε*) over ρ²/2. Only for the true Fisher, undamped, and for KLExact is ρ²/2 a KL budget; the spread of the rows "
        "is why equal radii in two geometries mean nothing, and the spread in a row is how far a fixed radius drifts.",
    )
    third = _shown(layers, s, "Where ε* goes: its squared length by layer, averaged over the snapshots.")
    return [Section("What a nat of KL buys", [first, second, third])]


def cost(s: Summary) -> Section:
    """Seconds."""
    words = (
        "The median step over the median Euclidean SAM step that the same process took in between on a copy of the network, "
        "so that both saw much the same load. Euclidean SAM’s own row should be at 1: its distance from there is what this "
        "measurement can resolve. Runs share the machine with each other; the network is so small that fixed costs of a "
        "call, not arithmetic, rule these ratios. They say nothing about large networks."
    )
    return Section("What a step costs", [_shown(step_time, s, words)])


def protocol(s: Summary) -> str:
    """In words."""
    warmup, calibration = s.config.training.warmup, s.config.calibration
    return (
        f"Every run begins with {warmup} epochs of plain SGD, which all methods at a seed share but for the learning rate’s "
        f"schedule of the SGD that runs longer. There, on each of {calibration.batches} fixed training batches, "
        f"`geosam.calibrate` finds the radius whose ε* has a KL of {calibration.kl} nats; their geometric mean is the run’s "
        "rho to the end. Training: SGD with momentum and a cosine schedule to zero, no augmentation. Accuracy is that of "
        f"the last epoch: no epoch is chosen by looking at the test images. Snapshots are taken along the {REFERENCE} runs, "
        "with every geometry calibrated anew to the same KL on one batch."
    )


def _shown(draw: Callable[[Summary], Figure], s: Summary, words: str, narrow: Any = None) -> Picture:
    return Picture(draw.__name__, words, partial(draw, s), narrow and partial(narrow, s))


def accuracy_table(s: Summary) -> Table:
    """Accuracies, their paired differences, and what they cost."""
    seeds = sorted(s.runs["seed"].unique())
    pivot = s.runs.pivot(index="method", columns="seed", values="accuracy")
    head = ["method", *(f"seed {seed}" for seed in seeds), "mean", "minus SAM, paired", "gradients", "step time"]
    rows = [
        [
            str(name),
            *(_text(pivot.loc[name, seed], "{:.1%}") for seed in seeds),
            _text(row["mean"], "{:.1%}"),
            "–" if name == REFERENCE else _text(100 * row.get("paired", math.nan), "{:+.1f}"),
            str(int(row["gradients"])),
            _text(row["ratio"], "{:.2f}"),
        ]
        for name, row in s.by_method().iterrows()
    ]
    return Table(
        "Test accuracy after the last epoch; difference in percentage points; step time as a ratio to Euclidean SAM.",
        head,
        rows,
    )


def radius_table(s: Summary) -> Table:
    """rho by method and seed."""
    runs = s.runs[s.runs["method"].isin(s.sams)]
    seeds = sorted(runs["seed"].unique())
    rows = []
    for name in s.sams:
        mine = runs[runs["method"] == name].set_index("seed")
        each = [rho for radii in mine["radii"] for rho in radii]
        rows.append([name, *(_text(mine["rho"].get(seed), "{:.4g}") for seed in seeds), f"{min(each):.3g} – {max(each):.3g}"])
    return Table(
        "Radius rho of each run, and its range over calibration batches.", ["geometry", *map(_seed, seeds), "range"], rows
    )


def geometry_table(s: Summary) -> Table:
    """Every geometry as it is written in Python."""
    named = {**s.config.snapshots.metrics, **{m.name: m.metric for m in s.config.methods if m.metric is not None}}
    rows = [[name, spelled(describe(metric))] for name, metric in named.items()]
    return Table("Geometries; one without a radius above was looked at in snapshots only.", ["name", "geometry"], rows)


def settings_table(s: Summary) -> Table:
    """The configuration that all runs share."""
    shared = {
        "seeds": s.config.seeds,
        **_fields(s.config.training),
        **{f"calibration {k}": v for k, v in _fields(s.config.calibration).items()},
    }
    return Table("Configuration.", ["setting", "value"], [[k.replace("_", " "), str(v)] for k, v in shared.items()])


def _fields(config: Any) -> dict[str, Any]:
    return {k: v for k, v in describe(config).items() if k != "type"}


def _seed(seed: int) -> str:
    return f"seed {seed}"


def _text(value: float | None, form: str) -> str:
    return "–" if value is None or pd.isna(value) else form.format(value)


def said(s: Summary) -> list[str]:
    """For a terminal."""
    lines = [
        f"{name:32s} {row['mean']:6.1%}  {row['low']:6.1%} – {row['high']:6.1%}   {row['ratio']:5.2f}× SAM's step"
        for name, row in s.by_method().iterrows()
    ]
    gap = s.published_gap()
    return lines if gap is None else [*lines, f"GradientMagnitude at η = 1 against SAM: 1 − cos = {gap:.1e} at most"]
