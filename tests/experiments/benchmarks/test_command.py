"""The exit status: a void race is one, unless the run was only to show that it runs."""

import pytest
import typer
from typer.testing import CliRunner

from experiments.benchmarks import command as module
from experiments.benchmarks import report


@pytest.mark.parametrize("options, status", [((), 1), (("--quick",), 0)])
def test_a_void_race_fails_a_run_that_measures(monkeypatch, tmp_path, options, status):
    monkeypatch.setattr(module, "measure", lambda *args: {"pinned": {"a race": {"void": True}}})
    monkeypatch.setattr(report, "show", lambda *args: None)
    app = typer.Typer()
    app.command()(module.command)
    assert CliRunner().invoke(app, ["step", "--records", str(tmp_path), *options]).exit_code == status
