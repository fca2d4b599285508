"""What CONTRIBUTING.md says about adding a study, a data set and a network works as it stands."""

import re
import sys

import pytest
from typer.testing import CliRunner

import experiments
import experiments.data
import experiments.networks
from experiments.__main__ import command_line
from experiments.common.files import ROOT

FILES = dict(re.findall(r"```python\n# (experiments/\S+)\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL))


@pytest.fixture
def added(tmp_path, monkeypatch):
    """The files of the page, importable beside the repository's own."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for package in (experiments, experiments.data, experiments.networks):
        folder = tmp_path.joinpath(*package.__name__.split("."))
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("experiments."):
            del sys.modules[name]


def test_the_page_adds_one_of_each():
    folders = [name.split("/")[1] for name in FILES]
    assert folders.count("data") == folders.count("networks") == 1
    assert {name.rpartition("/")[2] for name in FILES} == {"__init__.py", "command.py", "moons.py", "bottleneck.py", "study.py"}


def test_the_study_of_the_page_runs_and_is_not_run_again(added, tmp_path):
    arguments = ["radius", "--seeds", "1", "--workers", "1", "--out", str(tmp_path / "out")]
    for said in ("3 to do", "3 have a record"):
        done = CliRunner().invoke(command_line(), arguments)
        assert done.exit_code == 0 and said in " ".join(done.output.split()), done.output
    (written,) = (tmp_path / "out").glob("3-runs-*/report.html")
    page = written.read_text()
    assert page.count("<figure ") == 1 and "The radius of SAM" in page and page.count(">0.1</th>") == 1
    assert (written.parent / "figures" / "overview.png").read_bytes().startswith(b"\x89PNG")


def test_its_help_is_its_docstring(added):
    shown = CliRunner().invoke(command_line(), ["radius", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    assert "Train a small network at several radii." in shown and "--seeds" in shown and "--fresh" in shown
