"""One version, and the same Pythons wherever they are named."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geosam

ROOT = Path(__file__).parents[2]


def found(pattern: str, file: str) -> list[Any]:
    return re.findall(pattern, (ROOT / file).read_text(encoding="utf-8"), re.M)


def test_the_citation_has_the_version():
    assert found(r"^version: (\S+)$", "CITATION.cff") == [geosam.__version__]


def test_the_installation_has_the_version():
    assert version("geosam") == geosam.__version__, "an older installation: touch pyproject.toml && make venv"


def test_the_same_pythons_are_promised_classified_and_tested():
    pythons = found(r'"Programming Language :: Python :: (3\.\d+)"', "pyproject.toml")
    assert found(r"python: \[(.+)\]", ".github/workflows/test.yml") == [", ".join(f'"{python}"' for python in pythons)]
    assert found(r'^requires-python = ">=(.+)"$', "pyproject.toml") == pythons[:1]
    assert found(r'^target-version = "py(\d)(\d+)"$', "pyproject.toml") == [tuple(pythons[0].split("."))]
    assert found(r"Python ≥ (3\.\d+) and make", "README.md") == pythons[:1]
