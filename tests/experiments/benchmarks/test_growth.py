"""What is read from the sweeps of growth, and its picture."""

import json

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.benchmarks import measure as module
from experiments.benchmarks.command import command
from experiments.benchmarks.growth import NAMES, line, point, polynomial, read

SIZES = np.array([32.0, 64, 128, 256, 512, 1024, 2048, 4096])


@settings(deadline=None)
@given(st.tuples(*[st.floats(0.1, 10)] * 4))
def test_the_fit_finds_the_polynomial_that_is_there(sizes):
    a, b, c, d = np.array(sizes) * [10, 0.1, 1e-4, 1e-8]
    times = a + b * SIZES + c * SIZES**2 + d * SIZES**3
    fit = polynomial(SIZES, times, times)
    assert fit["crossover"] == pytest.approx(b / c, rel=1e-2)
    assert fit["to n³"] == pytest.approx(c / d, rel=1e-2)
    assert fit["misfit"] < 1e-6


def test_where_nothing_is_quadratic_there_is_no_crossover():
    fit = polynomial(SIZES, 3 + 0 * SIZES, np.ones_like(SIZES))
    assert fit["crossover"] is None and fit["a_ms"] == 3
    assert polynomial(SIZES, -SIZES, SIZES)["doubling"] is None  # a difference can be below zero, and has no logarithm


def test_the_exponent_in_the_parameters_is_that_of_the_times():
    count = 1e4 * 2.0 ** np.arange(6)
    assert line(count, 2e-6 * count)["exponent"] == 1.0
    assert line(count, 2e-6 * count)["b_ns"] == 2.0
    bent = line(count, 1.0 + 2e-6 * count**2)
    assert bent["larger half"] > 1.5 and bent["misfit"] > 0.1


def test_a_point_of_growth_is_measured(light):
    row = point(4, 8, 0.0)
    assert row["n"] == 4 and row["parameters"] == 784 * 8 + 8 + 8 * 8 + 8 + 8 * 10 + 10
    assert row["rows_mb"] == round(4 * 4 * row["parameters"] / 2**20, 1)
    assert all(row[f"{name}_ms"] > 0 and row[f"{name}_mb"] == 1.0 for name in NAMES)


@pytest.fixture
def grown(tmp_path):
    """A record whose numbers are chosen: linear in P, and n² leads from n = 400 on in the second metric."""

    def row(n, count):
        times = (1 + 0.1 * n * count / 1e6, 2 + (0.1 * n + 0.1 / 400 * n**2) * count / 1e6, 3 + 0.2 * n * count / 1e6)
        named = {f"{name}_ms": t for name, t in zip(NAMES, times, strict=True)}
        return {"n": n, "parameters": count, "rows_mb": n * count / 2**18, **named, **{f"{name}_mb": 8.0 for name in NAMES}}

    by_n = {str(n): row(int(n), 1e6) for n in SIZES}
    by_parameters = {str(count): row(128, count) for count in (1e5, 3e5, 1e6, 3e6)}
    sweeps = {"over n": by_n, "over parameters": by_parameters}
    run = {"settings": dict.fromkeys(sweeps, "784-w-w-10"), **sweeps, **read(by_n, by_parameters)}
    path = tmp_path / "growth.json"
    path.write_text(json.dumps({"runs": {"pinned": run}}))
    return path


def test_the_figure_says_what_the_record_says(grown):
    from experiments.benchmarks.growth_figure import growth as draw

    left, right = draw(grown).axes
    words = [text.get_text() for text in (*left.texts, *right.texts)]
    assert any("n* = 400" in text for text in words)
    assert sum("peak 8 MB" in text for text in words) == 3
    assert [len(axes.lines) for axes in (left, right)] == [4, 3]  # the fourth is the crossover
    assert list(left.lines[1].get_xdata()) == list(SIZES)


def test_the_command_draws_without_measuring(grown, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "inside", lambda *_: pytest.fail("nothing is to be measured"))
    picture = tmp_path / "growth.png"
    command(["growth"], records=grown.parent, figure=picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(typer.BadParameter, match="only growth"):
        command(["move"], records=grown.parent, figure=picture)
    with pytest.raises(typer.BadParameter, match="no record"):
        command(["growth"], records=tmp_path / "empty", figure=picture)
