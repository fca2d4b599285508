"""The house: rooms on floors, imports only downward, no circle; read from the source, imports for type checking included."""

import ast
import importlib
import sys
import types
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from unittest.mock import patch

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "geosam"

FLOORS = [
    ["core", "records"],
    ["rows", "solvers", "problem"],
    ["norms", "sampling"],
    ["predictive", "engines"],
    ["observation"],
    ["metrics", "objectives"],
    ["optim", "measure"],
    ["testing", "ablation", "contrib"],
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

EXTRAS = {
    "backpack": {"engines/backpack.py"},
    "lightning": {"contrib/lightning.py"},
    "torchmetrics": {"contrib/lightning.py"},
    "transformers": {"contrib/transformers.py"},
    "curvlinops": {"engines/kfac/factors.py"},
    "jinja2": {"ablation/report/page.py"},
    "joblib": {"records/jobs.py"},
    "optuna": {"ablation/tuned.py"},
    "pandas": {"ablation/frames.py", "measure/table.py"},
    "rich": {"measure/table.py"},
    "scipy": {"solvers/search.py", "ablation/statistics/scipy.py"},
}
"""Foreign packages beside torch and numpy, and who imports each; the laws also need Hypothesis, figures matplotlib."""


@cache
def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


def imports(path):
    """Absolute dotted names of all that the file imports, wherever in it, relative imports resolved."""
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            # "from . import x" names modules; "from .x import y" names y in x
            yield from (".".join([*base, alias.name]) for alias in node.names)


def room(path):
    return path.relative_to(PACKAGE).parts[0]


def file_of(name):
    """The file that a dotted name below geosam lives in."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:end])
        if path.with_suffix(".py").exists():
            return path.with_suffix(".py")
        if (path / "__init__.py").exists():
            return path / "__init__.py"
    raise LookupError(name)


LIBRARY = [path for path in sources("geosam") if path != PACKAGE / "__init__.py"]
ARROWS = {path: {file_of(name) for name in imports(path) if name.split(".")[0] == "geosam"} - {path} for path in LIBRARY}


def test_every_room_has_a_floor_and_a_reader_can_hold_them_in_mind():
    entries = {p.name for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert entries == {*FLOOR, "__init__.py"} and len(entries) <= 18


def test_imports_go_down():
    """To a lower floor or within the room: also not to a neighbour on the same floor, and not through the package's root."""
    wrong = {
        (str(path.relative_to(PACKAGE)), str(there.relative_to(PACKAGE)))
        for path, found in ARROWS.items()
        for there in found
        if there == PACKAGE / "__init__.py" or (room(there) != room(path) and FLOOR[room(there)] >= FLOOR[room(path)])
    }
    assert not wrong


def test_no_circle_among_files():
    inner = {path: {there for there in found if there.name != "__init__.py"} for path, found in ARROWS.items()}
    assert len(list(TopologicalSorter(inner).static_order())) >= len(LIBRARY) - len(FLOOR)


def test_what_the_checks_above_read_is_what_files_import():
    found = ARROWS[PACKAGE / "metrics" / "kl_exact.py"]
    assert {PACKAGE / "core" / "__init__.py", PACKAGE / "metrics" / "empirical_fisher.py"} <= found


ALONE = ("core", "rows", "norms", "solvers")


@pytest.mark.parametrize("alone", ALONE)
def test_a_room_below_models_is_usable_without_them(alone):
    """Imported anew, where geosam's own __init__ does not run: no model, no batch, no engine comes along."""
    with patch.dict(sys.modules):
        for name in [name for name in sys.modules if name.partition(".")[0] == "geosam"]:
            del sys.modules[name]
        sys.modules["geosam"] = root = types.ModuleType("geosam")
        root.__path__ = [str(PACKAGE)]
        importlib.import_module(f"geosam.{alone}")
        found = {name.split(".")[1] for name in sys.modules if name.startswith("geosam.")}
    assert alone in found <= set(ALONE)


def test_foreign_packages():
    """torch and numpy; few files for the rest; Hypothesis in the laws alone, matplotlib in reports."""
    users: dict[str, set[str]] = {}
    for path in LIBRARY:
        for name in {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names - {"geosam", "torch", "numpy"}:
            users.setdefault(name, set()).add(str(path.relative_to(PACKAGE)))
    assert all(user.startswith("testing/") for user in users.pop("hypothesis"))
    assert all(user.startswith(("ablation/report/", "ablation/figures")) for user in users.pop("matplotlib"))
    assert users == EXTRAS


def test_only_the_algebra_of_vectors_calls_foreach():
    def calls(path):
        return any(isinstance(n, ast.Attribute) and n.attr.startswith("_foreach") for n in ast.walk(parse(path)))

    assert {path.parent for path in LIBRARY if calls(path)} == {PACKAGE / "core" / "vectors"}


@pytest.mark.parametrize("package, other", [("theory", "geosam"), ("geosam", "theory")])
def test_theory_and_library_do_not_know_each_other(package, other):
    assert sources(package)
    assert not [path for path in sources(package) for name in imports(path) if name.split(".")[0] == other]
