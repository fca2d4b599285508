"""``--help`` of every command: what it says, and that it imports nothing slow."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from experiments.__main__ import command_line
from experiments.common.files import ROOT

SLOW = ("torch", "geosam", "matplotlib", "pandas", "sklearn", "scipy", "joblib", "jinja2")
FOLDERS = sorted(path.parent.name for path in (ROOT / "experiments").glob("*/command.py"))
COMMANDS = ("experiments", "experiments.benchmarks", *(f"experiments {folder}" for folder in FOLDERS))
TABLES = sorted(path.parent.name for path in (ROOT / "experiments").glob("*/presets.py"))
OPTIONS = {
    "experiments": set(FOLDERS),
    "experiments bound": {"--seeds", "--epochs", "--delta"},
    "experiments claims": {"--records"},
    **{f"experiments {name}": {"--preset", "--data", "--model", "--metric", "--quick", "--dry-run"} for name in TABLES},
    "experiments compare": {"--seeds", "--epochs", "--label-noise", "--kl"},
    "experiments report": {"--records"},
    "experiments frontier": {"--seeds", "--batches"},
    "experiments toy": {"--settings", "--seeds", "--grid"},
    "experiments benchmarks": {"--quick", "--allocator", "--records", "--figure", "--budget", "accelerator"},
    "experiments.benchmarks": {"--quick", "--allocator", "--records", "--figure", "--budget", "accelerator"},
}
ASK = """
import json, runpy, sys
from contextlib import redirect_stdout
from io import StringIO

def ask(name):
    module, _, command = name.partition(" ")
    sys.argv = [module, *command.split(), "--help"]
    text, code = StringIO(), None
    with redirect_stdout(text):
        try:
            runpy.run_module(module, run_name="__main__")
        except SystemExit as end:
            code = end.code
    return [code, text.getvalue(), sorted({name.partition(".")[0] for name in sys.modules})]

json.dump({name: ask(name) for name in sys.argv[1:]}, sys.stdout)
"""


@pytest.fixture(scope="module")
def answers():
    """Of a fresh process. What one command imports stays for the next, so that the last has the imports of all."""
    wide = {**os.environ, "COLUMNS": "200", "TERM": "dumb"}
    asked = [sys.executable, "-c", ASK, *COMMANDS]
    done = subprocess.run(asked, cwd=ROOT, env=wide, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_the_options_and_imports_nothing_slow(answers, name):
    code, said, imported = answers[name]
    assert code == 0 and all(option in said for option in OPTIONS.get(name, ()))
    assert set(imported).isdisjoint(SLOW)


def test_every_study_has_the_shared_options_and_a_folder_of_its_own(answers):
    for name in set(FOLDERS) - {"benchmarks"}:
        _, said, _ = answers[f"experiments {name}"]
        assert all(option in said for option in ("--out", "--fresh", "--workers", "--figure"))
        assert f"runs/{name}" in "".join(said.split())


def test_a_command_needs_its_name():
    assert CliRunner().invoke(command_line(), ["--seeds", "1"]).exit_code == 2
