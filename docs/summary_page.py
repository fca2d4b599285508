"""The page that sums up every metric, norm, objective, solver, update and policy, from their docstrings."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import ModuleType

from theory_pages import cell, replace

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


def write(app) -> None:
    """``api/summary.md`` in the documentation's source directory."""
    replace(Path(app.srcdir) / "api" / "summary.md", page())


def page() -> str:
    lines = ["# Summary", "", "Every part in a line: what it is, what it reads besides the gradient, where it comes from."]
    for title, room in ROOMS.items():
        lines += ["", f"## {title.capitalize()}", "", "| | it is | it reads | it costs | source |", "|---|---|---|---|---|"]
        names = sorted(getattr(room, "__all__", vars(room)))
        lines += [row(title, name, thing) for name in names if (thing := part(room, name)) is not None]
    return "\n".join([*lines, ""])


def part(room: ModuleType, name: str) -> type | None:
    """A class that users make objects of; bases and parts of others are left out."""
    thing = getattr(room, name)
    wanted = isinstance(thing, type) and not inspect.isabstract(thing) and not name.startswith("_")
    return thing if wanted and issubclass(thing, BASES) else None


def row(room: str, name: str, thing: type) -> str:
    text = inspect.getdoc(thing) or ""
    first = " ".join(text.split("\n\n")[0].split())
    whole = " ".join(text.split())
    told = [found(r"[Cc]osts (.*?)\.(?: |$)", whole), found(r"Source: (.*?)(?:\. Raises|\.?$)", whole)]
    link = f"{{py:class}}`~geosam.{room}.{name}`"
    return f"| {' | '.join([link, literal(first), cell(reads(thing)), *map(literal, told)])} |"


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match.group(1) if match else ""


def literal(text: str) -> str:
    """Unicode mathematics as it stands, and ``code`` as code."""
    parts = re.split(r"``(.+?)``", text)
    return "".join(f"`{part}`" if i % 2 else cell(part) for i, part in enumerate(parts))


def reads(thing: type) -> str:
    """What an object with its defaults asks an observation for; one that takes arguments asks as these do."""
    try:
        needs = getattr(thing(), "needs", ())
    except TypeError:
        return "as its parts" if hasattr(thing, "needs") else ""
    return ", ".join(READS.get(type(request).__name__, type(request).__name__) for request in needs)
