"""The command: its options, and that asking for help waits for nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import theory
from theory.__main__ import main

HEAVY = {"torch", "sympy", "scipy", "sklearn", "joblib", "numpy"}


def invoke(*arguments):
    app = typer.Typer()
    app.command()(main)
    return CliRunner().invoke(app, arguments)


def test_help_imports_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "-m", "theory", "--help"]
    root, environment = Path(theory.__file__).parents[1], os.environ | {"PYTHONUTF8": "1"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=root, env=environment)
    assert done.returncode == 0 and "Claims to decide" in done.stdout
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in imported and not HEAVY & imported


@pytest.mark.parametrize(
    "arguments, passed, status",
    [
        ((), ((), 10, False, 0), 0),
        (("F2", "G1", "--instances", "3", "--jobs", "2"), (["F2", "G1"], 3, False, 2), 1),
        (("F2", "--deep", "--altered"), (["F2"], 10_000, True, 0), 2),
    ],
)
def test_options_reach_the_run_and_its_status_is_the_command_s(monkeypatch, arguments, passed, status):
    seen = []

    def run(*options):
        seen.append(options)
        return status

    monkeypatch.setattr("theory.run.run", run)
    assert invoke(*arguments).exit_code == status and seen == [passed]


@pytest.mark.parametrize("wrong", [("--instances", "0"), ("--jobs", "-1"), ("--shallow",)])
def test_options_that_are_none_exit_with_2(wrong):
    assert invoke("F2", *wrong).exit_code == 2
