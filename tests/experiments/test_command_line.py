"""``--help`` of every command: what it says, and that it imports nothing slow."""

import json
import subprocess
import sys

import pytest

from experiments.common.files import ROOT

SLOW = ("torch", "geosam", "matplotlib", "pandas", "sklearn", "scipy", "joblib", "jinja2")
COMMANDS = {
    "": {"benchmarks", "bound", "compare", "frontier", "toy"},
    "bound": {"--seeds", "--epochs", "--delta"},
    "compare": {"--seeds", "--epochs", "--label-noise", "--kl"},
    "frontier": {"--seeds", "--batches"},
    "toy": {"--settings", "--seeds", "--grid"},
    "benchmarks": {"--quick", "--allocator", "--records", "--figure", "accelerator"},
}
ASK = """
import json, sys
from typer.testing import CliRunner
from experiments.__main__ import command_line
from experiments.benchmarks.__main__ import command

def ask(*arguments):
    found = CliRunner().invoke(command_line(), arguments, env={"COLUMNS": "200", "TERM": "dumb"})
    return [found.exit_code, found.output, sorted({name.partition(".")[0] for name in sys.modules})]

json.dump({name: ask(*name.split(), "--help") for name in sys.argv[1:]}, sys.stdout)
"""


@pytest.fixture(scope="module")
def answers():
    """Of a fresh process. What one command imports stays for the next, so that the last has the imports of all."""
    done = subprocess.run([sys.executable, "-c", ASK, *COMMANDS], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_the_options_and_imports_nothing_slow(answers, name):
    code, said, imported = answers[name]
    assert code == 0 and all(option in said for option in COMMANDS[name])
    assert set(imported).isdisjoint(SLOW)


def test_every_study_has_the_shared_options_and_a_folder_of_its_own(answers):
    for name in set(COMMANDS) - {"", "benchmarks"}:
        assert all(option in answers[name][1] for option in ("--out", "--fresh", "--workers", "--figure"))
        assert f"runs/{name}" in "".join(answers[name][1].split())


def test_a_command_needs_its_name(answers):
    done = subprocess.run([sys.executable, "-m", "experiments", "--seeds", "1"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode != 0
