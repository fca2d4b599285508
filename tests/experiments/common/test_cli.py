"""Options reach the configuration, and an interrupt or a failure reaches the shell."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.__main__ import command_line
from experiments.bound import config as bound
from experiments.bound.study import Bound
from experiments.common import runner
from experiments.common.files import ROOT
from experiments.compare import config as compare
from experiments.compare.study import Compare
from experiments.data.pictures import pictures
from experiments.frontier import config as frontier
from experiments.frontier.study import Frontier
from experiments.toy.config import Config as ToyConfig
from experiments.toy.study import Toy


@pytest.fixture
def asked(monkeypatch):
    """(study, settings) of every call of ``carry_out``, which does nothing."""
    calls = []

    def carry_out(study, out, **settings):
        calls.append((study, {"out": out, **settings}))
        return out

    monkeypatch.setattr(runner, "carry_out", carry_out)
    return calls


@pytest.mark.parametrize(
    "words, study",
    [
        ("bound", Bound()),
        ("compare", Compare()),
        ("frontier", Frontier()),
        ("toy", Toy()),
        ("bound --seeds 1 --epochs 3 --delta 0.1", Bound(bound.Config(1, bound.Training(epochs=3), 0.1))),
        (
            "compare --seeds 2 --epochs 5 --label-noise 0.1 --kl 0.5",
            Compare(
                compare.Config(
                    seeds=(0, 1),
                    training=compare.Training(epochs=5, label_noise=0.1),
                    calibration=compare.Calibration(kl=0.5),
                )
            ),
        ),
        ("frontier --seeds 2 --batches 3", Frontier(frontier.Config(seeds=(0, 1), looks=frontier.Looks(batches=3)))),
        ("toy --settings 50 --seeds 2 --grid 6", Toy(ToyConfig(seeds=2, settings=50, grid=6))),
    ],
)
def test_options_make_the_configuration(words, study, asked):
    assert CliRunner().invoke(command_line(), words.split()).exit_code == 0
    ((made, settings),) = asked
    assert made == study
    assert settings["out"] == ROOT / "runs" / words.split()[0]
    assert (settings["fresh"], settings["workers"], settings["figure"]) == (False, 2, None)


def test_shared_options_reach_the_runner(asked):
    words = ["toy", "--fresh", "--workers", "3", "--out", "there", "--figure", "here.png"]
    assert CliRunner().invoke(command_line(), words).exit_code == 0
    ((_, settings),) = asked
    assert (settings["fresh"], settings["workers"]) == (True, 3)
    assert (settings["out"], settings["figure"]) == (Path("there"), Path("here.png"))


@pytest.mark.parametrize("ends, code, said", [(None, 1, ""), (KeyboardInterrupt, 130, "the same command goes on from there")])
def test_a_failure_and_an_interrupt_have_their_exit_codes(ends, code, said, monkeypatch):
    def carry_out(*_, **__):
        if ends:
            raise ends

    monkeypatch.setattr(runner, "carry_out", carry_out)
    done = CliRunner().invoke(command_line(), ["toy"])
    assert done.exit_code == code and said in " ".join(done.output.split())


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_data_that_are_not_there_are_asked_for_once_and_before_any_run(more, monkeypatch, tmp_path):
    monkeypatch.setenv("GEOSAM_DATA", str(tmp_path))
    pictures.cache_clear()
    done = CliRunner().invoke(command_line(), ["fast", "--quick", "--out", str(tmp_path / "out"), *more])
    assert done.exit_code == 1 and "Traceback" not in done.output and done.output.count("On a machine with a network") == 1
    assert not list(tmp_path.rglob("records"))
