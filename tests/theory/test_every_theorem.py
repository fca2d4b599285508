"""What every theorem file owes: a proof, reproducible instances, decisions, and altered claims judged otherwise."""

import ast
import pkgutil
from importlib import import_module
from pathlib import Path

import pytest
import sympy as sp

import theory
from theory.verdict import Outcome

MODULES = [import_module(f"theory.{found.name}") for found in pkgutil.iter_modules(theory.__path__)]
THEOREMS = {module.__name__.removeprefix("theory."): module for module in MODULES if hasattr(module, "CLAIMS")}
CLAIMS = {name: (module, check) for module in THEOREMS.values() for name, check in module.CLAIMS.items()}


def test_each_claim_is_decided_in_one_place():
    assert len(CLAIMS) == sum(len(module.CLAIMS) for module in THEOREMS.values()) > 0


@pytest.mark.parametrize("module", THEOREMS.values(), ids=THEOREMS)
def test_the_derivation_proves_something(module):
    proved = module.derive()
    assert proved and all(isinstance(identity, sp.Eq) for identity in proved)


@pytest.mark.parametrize("module, check", CLAIMS.values(), ids=CLAIMS)
def test_an_instance_and_its_verdict_are_reproducible(module, check):
    assert check(module.instance(7)) == check(module.instance(7))


@pytest.mark.parametrize("module, check", CLAIMS.values(), ids=CLAIMS)
def test_a_claim_is_decided_and_an_altered_one_judged_otherwise(module, check):
    for seed in range(5):
        drawn = module.instance(seed)
        verdict, altered = check(drawn), check(drawn, altered=True)
        assert Outcome.UNDECIDED not in (verdict.outcome, altered.outcome)
        assert verdict.outcome is not altered.outcome


@pytest.mark.parametrize("path", sorted(Path(theory.__file__).parent.rglob("*.py")), ids=lambda path: path.name)
def test_theory_does_not_import_what_it_checks(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not any(name.split(".")[0] == "geosam" for name in names)
