"""The house: each floor of geosam imports only from its own and those below, read from the source."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "geosam"

FLOORS = {
    **dict.fromkeys(["_vectors", "_abstract"], 0),
    **dict.fromkeys(["seen", "likelihoods", "damping", "losses", "rows", "predictive", "randomness", "norms"], 1),
    **dict.fromkeys(["_lanczos", "functional", "sampling", "_jacobian", "_linear", "_tangents"], 1),
    **dict.fromkeys(["engines", "frozen", "problem", "solvers", "_surface", "_landing"], 2),
    **dict.fromkeys(["metrics", "objectives", "updates", "ascend", "closure", "_move"], 3),
    **dict.fromkeys(["optim", "last", "compare", "calibrate", "_meter", "testing", "sharpness"], 4),
}

EXTRAS = {None: {"hypothesis"}, "search": {"scipy"}, "kronecker_factors": {"curvlinops"}}
"""What needs more than the library itself: the laws, the search for an argmax, the adapter of curvlinops."""


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def for_types_only(node):
    """An ``if TYPE_CHECKING:`` block: names for annotations, which import nothing when the program runs."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def statements(tree):
    """Every node that runs."""
    stack = [tree]
    while stack:
        node = stack.pop()
        yield node
        stack += node.orelse if for_types_only(node) else ast.iter_child_nodes(node)


def imports(path):
    """Absolute dotted names of all that the file imports, wherever in it, relative imports resolved."""
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in statements(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            # "from . import x" names modules; "from .x import y" names y in x
            yield from (".".join([*base, alias.name]) for alias in node.names)


def room(path_or_name):
    """The file or folder directly under geosam/ that a path or dotted name belongs to."""
    if isinstance(path_or_name, Path):
        return path_or_name.relative_to(PACKAGE).parts[0].removesuffix(".py")
    parts = path_or_name.split(".")
    return parts[1] if parts[0] == "geosam" and len(parts) > 1 else None


LIBRARY = [path for path in sources("geosam") if path != PACKAGE / "__init__.py"]


def test_every_file_has_a_floor():
    assert {room(path) for path in LIBRARY} <= FLOORS.keys()


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_imports_from_a_floor_above(path):
    above = {name for name in imports(path) if room(name) in FLOORS and FLOORS[room(name)] > FLOORS[room(path)]}
    assert not above


def test_nothing_is_imported_from_the_package_s_own_root_by_name():
    """``from geosam import X`` would hide which floor X lives on."""
    for path in LIBRARY:
        unknown = {name for name in imports(path) if name.startswith("geosam.") and room(name) not in FLOORS}
        assert not unknown, path


def test_only_one_file_imports_backpack():
    users = {str(path.relative_to(PACKAGE)) for path in LIBRARY for name in imports(path) if name.split(".")[0] == "backpack"}
    assert users == {"engines/backpack.py"}


def test_only_one_file_calls_foreach():
    def calls(path):
        return any(isinstance(n, ast.Attribute) and n.attr.startswith("_foreach") for n in ast.walk(parse(path)))

    assert {str(path.relative_to(PACKAGE)) for path in LIBRARY if calls(path)} == {"_vectors.py"}


def test_the_library_needs_torch_and_numpy_and_only_its_laws_need_hypothesis():
    for path in LIBRARY:
        foreign = (
            {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names - {"geosam", "torch", "numpy", "backpack"}
        )
        assert foreign <= (EXTRAS[None] if room(path) == "testing" else EXTRAS.get(path.stem, set())), path


@pytest.mark.parametrize("package, other", [("theory", "geosam"), ("geosam", "theory")])
def test_theory_and_library_do_not_know_each_other(package, other):
    assert sources(package), f"{package}/ is where this test looks"
    for path in sources(package):
        assert other not in {name.split(".")[0] for name in imports(path)}, path


def test_relative_imports_are_resolved():
    path = PACKAGE / "metrics" / "kl_exact.py"
    assert {"geosam._abstract.Divergence", "geosam.metrics.empirical_fisher.EmpiricalFisher"} <= set(imports(path))
