"""The page that sums up every metric, norm, objective, solver, update and policy, from their docstrings."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from types import ModuleType

from theory_pages import RECORDS, cell, replace

import geosam

ROOMS: dict[str, ModuleType] = {
    "metrics": geosam.metrics,
    "norms": geosam.norms,
    "objectives": geosam.objectives,
    "solvers": geosam.solvers,
    "updates": geosam.updates,
    "schedules": geosam.schedules,
    "passes": geosam.passes,
}
BASES = (
    geosam.Metric,
    geosam.Norm,
    geosam.Objective,
    geosam.Solver,
    geosam.updates.Update,
    geosam.schedules.Schedule,
    geosam.passes.Passes,
)
READS = {
    "PerSampleGradients": "gradients of single samples",
    "MeanSquares": "squares of gradients of single samples",
    "PredictiveDistribution": "the predictive distribution",
    "LabelDraws": "labels that the model draws",
    "KroneckerFactors": "Kronecker factors",
    "HessianProducts": "Hessian products",
}
HEAD = ["", "it is", "it reads", "it costs", "source"]
TIMED = {
    "ParameterScaled": "copy, ParameterScaled",
    "GradientMagnitude": "copy, GradientMagnitude",
    "EmpiricalFisher": "EmpiricalFisher",
    "DiagonalEmpiricalFisher": "DiagonalEmpiricalFisher",
    "Fisher": "Fisher, Exact, ten iterations of CG",
    "KLExact": "KL along ḡ²",
}
MEASURED = (
    "What a metric costs is a whole step over the Euclidean one on one CPU core, the least and the largest of two or three"
    " networks (`experiments/records/benchmarks`): `Fisher()` by ten iterations, `KLExact` along `GradientMagnitude()`. Empty:"
    " not measured."
)


def write(app) -> None:
    """``api/summary.md`` in the documentation's source directory."""
    replace(Path(app.srcdir) / "api" / "summary.md", page())


def page() -> str:
    lines = [
        "# Summary",
        "",
        "Every part in a line: what it is, what it reads besides the gradient, what it costs, its source.",
    ]
    for title, room in ROOMS.items():
        names = sorted(getattr(room, "__all__", vars(room)))
        rows = [row(title, name, thing) for name in names if (thing := part(room, name)) is not None]
        kept = [i for i in range(len(HEAD)) if any(cells[i] for cells in rows)]
        table = [[cells[i] for i in kept] for cells in (HEAD, ["---"] * len(HEAD), *rows)]
        lines += ["", f"## {title.capitalize()}", "", *([MEASURED, ""] if title == "metrics" else [])]
        lines += [f"| {' | '.join(cells)} |" for cells in table]
    return "\n".join([*lines, ""])


def measured() -> dict[str, str]:
    """By metric, the least and the largest of a whole step over the Euclidean one in the records."""
    ratios: dict[str, list[float]] = {}
    for record in ("step", "fisher_cost"):
        runs = json.loads((RECORDS / "benchmarks" / f"{record}.json").read_text(encoding="utf-8"))["runs"]["pinned"]
        for jobs in (run["jobs"] for run in runs.values() if "jobs" in run):
            for name, job in TIMED.items():
                if job in jobs:
                    floor = jobs.get("copy, Euclidean", {"ratio": 1.0})["ratio"]
                    ratios.setdefault(name, []).append(jobs[job]["ratio"] / floor)
    return {name: f"{min(found):.2f} to {max(found):.2f}" for name, found in ratios.items()} | {"Euclidean": "1"}


def part(room: ModuleType, name: str) -> type | None:
    """A class that users make objects of; bases and parts of others are left out."""
    thing = getattr(room, name)
    wanted = isinstance(thing, type) and not inspect.isabstract(thing) and not name.startswith("_")
    return thing if wanted and issubclass(thing, BASES) else None


def row(room: str, name: str, thing: type) -> list[str]:
    text = inspect.getdoc(thing) or ""
    first = " ".join(text.split("\n\n")[0].split())
    whole = " ".join(text.split())
    cost = measured().get(name, "") if room == "metrics" else found(r"[Cc]osts (.*?)\.(?: |$)", whole)
    first, source = first.partition(" Source: ")[0], found(r"Source: (.*?)(?:\. Raises|\.?$)", whole)
    return [f"{{py:class}}`~{ROOMS[room].__name__}.{name}`", literal(first), cell(reads(thing)), literal(cost), literal(source)]


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match.group(1) if match else ""


def literal(text: str) -> str:
    """Unicode mathematics as it stands, and ``code`` and names of classes as code."""
    parts = re.split(r"(?:``|:\w+:`~?)(.+?)`+", text)
    return "".join(f"`{part}`" if i % 2 else cell(part) for i, part in enumerate(parts))


def reads(thing: type) -> str:
    """What an object with its defaults asks an observation for; one that takes arguments asks as these do."""
    try:
        needs = getattr(thing(), "needs", ())
    except TypeError:
        return "as its parts" if hasattr(thing, "needs") else ""
    return ", ".join(READS.get(type(request).__name__, type(request).__name__) for request in needs)
