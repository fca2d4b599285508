"""The toy's study at its smallest, from end to end."""

import json
import re
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from experiments.toy.config import DESIGNS, LOSSES, NAMES, SMALL_MU, Config, Settings
from experiments.toy.figures import basins
from experiments.toy.result import Ends, Found
from experiments.toy.run import reached
from experiments.toy.study import Toy
from experiments.toy.style import COLOURS
from experiments.toy.summary import NO_RADIUS, Summary
from geosam.records import Done, Finished, Provenance, Store
from tests.experiments.carried import carried
from tests.experiments.page import Page
from theory.toy_dynamics import METHODS
from theory.toy_ends import End, ends
from theory.toy_loss import OF_THE_FIGURE

TINY = Config(
    seeds=1,
    settings=6,
    grid=4,
    lrs=(60.0,),
    rhos=(0.5, 1.0),
    ranges=Settings(steps=60),
    small=replace(SMALL_MU, steps=60),
    thin=4,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("toy")
    done = carried(Toy(TINY), out, figure=out / "elsewhere" / "radius.png")
    assert len(done.ran) == len(TINY.chunks()) + len(TINY.maps()) + len(TINY.hunts()) == 8 + 2 + 4
    return done


def test_the_page_embeds_all_that_it_shows(finished):
    text = finished.page.read_text()
    tags = Page(text).tags
    figures = [attributes for tag, attributes in tags if tag == "figure"]
    assert len(figures) == 6 + len(NAMES) and all(figure["aria-label"] for figure in figures)
    assert not {"img", "script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    assert "url(" not in text and not re.search(r"\bnan\b", text) and f"{TINY.settings} random settings" in text


def test_figures_lie_beside_the_page(finished):
    out = finished.out
    pictures = [*(finished.page.parent / "figures").glob("*.png"), out / "elsewhere" / "radius.png"]
    assert {"figure_1", "figure_2", "figure_3", "by_radius", "banana", "map_FSAM"} <= {p.stem for p in pictures}
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)


def test_the_summary_counts_every_run_once(finished):
    out = finished.out
    summary = json.loads((finished.page.parent / "summary.json").read_text())
    assert len(summary["ends"]) == len(LOSSES) * len(DESIGNS) * len(NAMES)
    for row in summary["ends"]:
        assert sum(row[end.name] for end in End) + row[NO_RADIUS] == TINY.settings
    by_radius = sum(row[end.name] for row in summary["by_radius"] for end in End)
    assert by_radius == TINY.settings and set(summary["provenance"]) == {field.name for field in fields(Provenance)}
    assert [(f["figure"], f["won"]) for f in summary["figures"]] == [(2, True), (2, False), (3, True), (3, False)]
    store = Store(out / "records" / "counts", Ends)
    for job in [job for job in TINY.chunks() if job.settings == TINY.ranges]:
        found = store.load(job).result.ends
        (row,) = (r for r in summary["ends"] if (r["loss"], r["design"], r["method"]) == (job.loss, job.design, "FSAM"))
        assert row["SADDLE"] == found["FSAM"].count(str(int(End.SADDLE)))


def test_maps_show_each_end_in_its_own_colour(finished):
    store = Store(finished.out / "records" / "maps", Ends)
    maps = {job: store.load(job).result for job in TINY.maps()}
    (first, second) = basins(Summary(TINY, pd.DataFrame(), maps, {}), "FSAM").axes
    for axes, (job, result) in zip((first, second), maps.items(), strict=True):
        (image,) = axes.images
        shown = image.cmap(image.norm(image.get_array()))
        expected = [to_rgba(COLOURS[End(int(digit))]) for digit in result.ends["FSAM"]]
        assert shown.reshape(-1, 4) == pytest.approx(np.array(expected))
        assert image.origin == "lower" and list(image.get_extent()) == [*job.mu, *job.sigma]


def test_a_second_call_runs_nothing_and_a_broken_record_runs_again(finished):
    assert carried(Toy(TINY), finished.out, reports=False).ran == []
    job = TINY.chunks()[2]
    store = Store(finished.out / "records" / "counts", Ends)
    before, path = store.load(job).result, store.path(job)
    path.write_text(path.read_text()[:-50])
    assert carried(Toy(TINY), finished.out, reports=False).ran == [job.title]
    assert store.load(job).result == before


def test_a_changed_setting_runs_only_what_it_concerns(finished):
    more = Toy(replace(TINY, rhos=(0.5, 1.0, 1.5)))
    assert carried(more, finished.out, reports=False).ran == ["map at lr 60, ρ 1.5"]


def test_a_job_that_fails_leaves_no_report():
    job = TINY.chunks()[0]
    assert Toy(TINY).page(Finished([Done(job, None, "a traceback")])) is None


def test_what_the_hunt_finds_ends_as_wanted(finished):
    store = Store(finished.out / "records" / "hunts", Found)
    for job in TINY.hunts():
        found = store.load(job).result
        assert found.of >= 1 and found.depth >= 1
        theta, lr = np.array(found.start)[:, None], np.array([found.lr])
        mine = ends(OF_THE_FIGURE, METHODS["FSAM"], theta, lr, np.array([found.rho]), job.steps)
        rival = ends(OF_THE_FIGURE, METHODS[job.rival], theta, lr, np.array([found.rival_rho]), job.steps)
        wanted = (End.FLAT, End.SHARP) if job.won else (End.SHARP, End.FLAT)
        assert reached(mine, wanted[0], found.strict)[0] and reached(rival, wanted[1], found.strict)[0]
        assert job.figure == 2 or abs(found.start[0]) <= 5
