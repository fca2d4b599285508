"""The toy's study at its smallest, from end to end, and its counts against counting by hand."""

import io
import json
import math
import re
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from rich.console import Console
from scipy.stats import beta

from experiments import page as page_module
from experiments.provenance import Provenance
from experiments.store import Record, Store
from experiments.toy import study as module
from experiments.toy.banana import Banana
from experiments.toy.config import DESIGNS, LOSSES, MATCHED, NAMES, OWN, SMALL_MU, Chunk, Settings, Study, radii
from experiments.toy.figures import COLOURS, basins
from experiments.toy.result import Ends, Found
from experiments.toy.summary import NO_RADIUS, Summary, digits, duel, interval, summarise
from experiments.toy.work import axes as searched
from experiments.toy.work import chart, count, hunt, reached
from tests.experiments.page import Page
from theory.toy_dynamics import METHODS
from theory.toy_ends import End, ends, landscape
from theory.toy_loss import OF_THE_FIGURE

TINY = Study(
    seeds=1,
    settings=6,
    grid=4,
    lrs=(60.0,),
    rhos=(0.5, 1.0),
    ranges=Settings(steps=60),
    small=replace(SMALL_MU, steps=60),
    thin=7,
)


def _run(out, monkeypatch, study=TINY, figure=None, report=True):
    """(what ``run`` returns, the jobs that ran). report=False: draw and write nothing."""
    done = []
    if not report:
        monkeypatch.setattr(module, "draw", lambda summary: {})
        monkeypatch.setattr(module, "write_report", lambda path, *_: path)

    def counted(work):
        def run(job):
            done.append(job.title)
            return work(job)

        return run

    for work in (count, chart, hunt):
        monkeypatch.setattr(module, work.__name__, counted(work))
    console = Console(file=io.StringIO())
    return module.run(study, out, workers=1, fresh=False, figure=figure, console=console), done


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The study of ``TINY``, its figures rendered once each and coarse."""
    out, rendered = tmp_path_factory.mktemp("toy"), {}

    def render(figure, form):
        if (figure, form) not in rendered:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=form, dpi=25)
            rendered[figure, form] = buffer.getvalue()
        return rendered[figure, form]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_module, "_rendered", render)
        page, done = _run(out, patch, figure=out / "elsewhere" / "radius.png")
    assert len(done) == len(TINY.chunks()) + len(TINY.maps()) + len(TINY.hunts()) == 8 + 2 + 4
    return out, page


def test_the_page_embeds_all_that_it_shows(finished):
    _, page = finished
    text = page.read_text()
    tags = Page(text).tags
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert len(images) == 6 + len(NAMES)
    assert all(image["src"].startswith("data:image/") and len(image["alt"]) > 20 for image in images)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    words = re.sub(r'src="data:[^"]*"', "", text)
    assert "url(" not in words and not re.search(r"\bnan\b", words) and f"{TINY.settings} random settings" in words


def test_figures_lie_beside_the_page(finished):
    out, _ = finished
    pictures = [*(out / "figures").glob("*.png"), out / "elsewhere" / "radius.png"]
    assert {"figure_1", "figure_2", "figure_3", "by_radius", "banana", "map_FSAM"} <= {p.stem for p in pictures}
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)


def test_the_summary_counts_every_run_once(finished):
    out, _ = finished
    summary = json.loads((out / "summary.json").read_text())
    assert len(summary["ends"]) == len(LOSSES) * len(DESIGNS) * len(NAMES)
    for row in summary["ends"]:
        assert sum(row[end.name] for end in End) + row[NO_RADIUS] == TINY.settings
    by_radius = sum(row[end.name] for row in summary["by_radius"] for end in End)
    assert by_radius == TINY.settings and set(summary["provenance"]) == {field.name for field in fields(Provenance)}
    assert [(f["figure"], f["won"]) for f in summary["figures"]] == [(2, True), (2, False), (3, True), (3, False)]
    store = Store(out / "records" / "counts", Record[Ends])
    for job in [job for job in TINY.chunks() if job.settings == TINY.ranges]:
        found = store.load(job).result.ends
        (row,) = (r for r in summary["ends"] if (r["loss"], r["design"], r["method"]) == (job.loss, job.design, "FSAM"))
        assert row["SADDLE"] == found["FSAM"].count(str(int(End.SADDLE)))


def test_maps_show_each_end_in_its_own_colour(finished):
    out, _ = finished
    store = Store(out / "records" / "maps", Record[Ends])
    maps = {job: store.load(job).result for job in TINY.maps()}
    (first, second) = basins(Summary(TINY, pd.DataFrame(), maps, {}), "FSAM").axes
    for axes, (job, result) in zip((first, second), maps.items(), strict=True):
        (image,) = axes.images
        shown = image.cmap(image.norm(image.get_array()))
        expected = [to_rgba(COLOURS[End(int(digit))]) for digit in result.ends["FSAM"]]
        assert shown.reshape(-1, 4) == pytest.approx(np.array(expected))
        assert image.origin == "lower" and image.get_extent() == [*job.mu, *job.sigma]


def test_a_second_call_runs_nothing_and_a_broken_record_runs_again(finished, monkeypatch):
    out, _ = finished
    assert _run(out, monkeypatch, report=False)[1] == []
    job = TINY.chunks()[2]
    store = Store(out / "records" / "counts", Record[Ends])
    before, path = store.load(job).result, store.path(job)
    path.write_text(path.read_text()[:-50])
    assert _run(out, monkeypatch, report=False)[1] == [job.title]
    assert store.load(job).result == before


def test_a_changed_setting_runs_only_what_it_concerns(finished, monkeypatch):
    out, _ = finished
    more = replace(TINY, rhos=(0.5, 1.0, 1.5))
    assert _run(out, monkeypatch, study=more, report=False)[1] == ["map at lr 60, ρ 1.5"]


def test_a_job_that_fails_leaves_no_report(tmp_path, monkeypatch):
    page, done = _run(
        tmp_path, monkeypatch, study=replace(TINY, ranges=Settings(steps=3), small=Settings(steps=3, top=30.0)), report=False
    )
    assert page is None and len(done) == 14
    assert not (tmp_path / "summary.json").exists()
    assert len(list((tmp_path / "records" / "hunts").glob("*.json"))) == 4


def test_a_chunk_says_where_each_method_ends():
    job = Chunk("the figure's", OWN, 3, 5, Settings(steps=80))
    theta, lr, rho = job.settings.draw(OF_THE_FIGURE, 3, 5)
    found = count(job).ends
    for name, method in METHODS.items():
        assert (digits(found[name]) == ends(OF_THE_FIGURE, method, theta, lr, rho, 80)).all()


@given(st.integers(0, 2**32 - 1))
def test_settings_lie_in_their_ranges(seed):
    ranges = Settings()
    theta, lr, rho = ranges.draw(OF_THE_FIGURE, seed, 50)
    assert (theta[1] > landscape(OF_THE_FIGURE).saddle[1]).all() and (theta[1] <= ranges.top).all()
    for values, (low, high) in ((theta[0], ranges.mu), (lr, ranges.lr), (rho, ranges.rho)):
        assert (values >= low * (1 - 1e-12 * np.sign(low))).all() and (values <= high * (1 + 1e-12)).all()
    assert (ranges.draw(OF_THE_FIGURE, seed, 50)[0] == theta).all()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_designs_differ_in_what_is_equal(seed):
    theta, _, rho = Settings().draw(OF_THE_FIGURE, seed, 20)
    g = OF_THE_FIGURE.gradient(theta)
    assert all((r == rho).all() for r in radii(OWN, OF_THE_FIGURE, theta, rho).values())
    matched = radii(MATCHED, OF_THE_FIGURE, theta, rho)
    length = np.hypot(*METHODS["FSAM"](theta, g, rho))
    for name in NAMES[1:]:
        reach = np.isfinite(matched[name])  # a KL ball never leaves the domain, and FSAM's step may
        assert name == "KL" or reach.all()
        mine = np.hypot(*METHODS[name](theta, g, matched[name]))
        assert mine[reach] == pytest.approx(length[reach], rel=1e-6)


@given(st.lists(st.tuples(st.sampled_from(list(End)), st.sampled_from(list(End))), max_size=30))
def test_a_duel_is_counted_as_by_hand(pairs):
    table = pd.DataFrame(pairs, columns=["FSAM", "SAM"]).astype(int)
    found = duel(table, "SAM")
    sharp = [mine for mine, theirs in pairs if theirs is End.SHARP and mine is not End.UNSETTLED]
    assert found["wins"] == pairs.count((End.FLAT, End.SHARP)) and found["losses"] == pairs.count((End.SHARP, End.FLAT))
    sides = [(mine.side, theirs.side) for mine, theirs in pairs]
    assert found["crossed"] == sides.count((End.FLAT_SIDE, End.SHARP_SIDE))
    assert found["recrossed"] == sides.count((End.SHARP_SIDE, End.FLAT_SIDE))
    assert found["sharp"] == len(sharp)
    if sharp:
        assert found["then"] == sum(mine.side is End.FLAT_SIDE for mine in sharp) / len(sharp)
        assert found["then_low"] <= found["then"] <= found["then_high"]
    else:
        assert math.isnan(found["then"])


@given(st.integers(1, 200), st.data())
def test_intervals_are_clopper_and_pearson_s(n, data):
    k = data.draw(st.integers(0, n))
    value, low, high = interval(k, n)
    assert value == k / n
    assert low == pytest.approx(beta.ppf(0.025, k, n - k + 1) if k else 0, abs=1e-9)
    assert high == pytest.approx(beta.ppf(0.975, k + 1, n - k) if k < n else 1, abs=1e-9)


def test_where_no_kl_ball_is_as_long_nothing_has_left():
    """At equal first steps: KL is counted apart where FSAM's first probe leaves σ > 0, and there alone."""
    study = Study(seeds=1, settings=60, ranges=Settings(steps=20), small=replace(SMALL_MU, steps=20))
    job = next(job for job in study.chunks() if job.design == MATCHED and job.settings == study.ranges)
    record = SimpleNamespace(result=count(job))
    table = summarise(study, [(job, record)], [], []).ends(job.loss, MATCHED)
    theta, _, rho = job.settings.draw(LOSSES[job.loss], job.seed, job.n)
    probe = theta + METHODS["FSAM"](theta, LOSSES[job.loss].gradient(theta), rho)
    without = int((probe[1] <= 0).sum())
    assert 0 < without < job.n and table[NO_RADIUS].to_dict() == {**dict.fromkeys(NAMES, 0), "KL": without}
    assert table.loc["KL", "LEFT"] == record.result.ends["KL"].count(str(int(End.LEFT))) - without


def test_the_grid_of_a_hunt_holds_no_setting_twice():
    for job in Study().hunts():
        assert all((np.diff(axis) > 1e-9).all() for axis in searched(job))


def test_what_the_hunt_finds_ends_as_wanted():
    for job in replace(TINY, thin=4).hunts():
        found = hunt(job)
        if not found.of:
            assert found.depth == 0
            continue
        theta, lr = np.array(found.start)[:, None], np.array([found.lr])
        mine = ends(OF_THE_FIGURE, METHODS["FSAM"], theta, lr, np.array([found.rho]), job.steps)
        rival = ends(OF_THE_FIGURE, METHODS[job.rival], theta, lr, np.array([found.rival_rho]), job.steps)
        wanted = (End.FLAT, End.SHARP) if job.won else (End.SHARP, End.FLAT)
        assert reached(mine, wanted[0], found.strict)[0] and reached(rival, wanted[1], found.strict)[0]
        assert job.figure == 2 or abs(found.start[0]) <= 5
        assert isinstance(found, Found) and found.depth >= 1


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_the_banana_s_gradient_by_differences(x, y):
    theta, h = np.array([[x], [y]]), 1e-6
    value, gradient = Banana().look(theta)
    assert value[0] == (1 - x * y) ** 2
    for k in range(2):
        step = np.zeros((2, 1))
        step[k] = h
        slope = (Banana().look(theta + step)[0] - Banana().look(theta - step)[0]) / (2 * h)
        assert gradient[k] == pytest.approx(slope, abs=1e-6)


def test_bad_configurations_name_their_cure():
    with pytest.raises(ValueError, match="at least one each"):
        Study(seeds=3, settings=2)
    with pytest.raises(ValueError, match="take at least 4"):
        Study(grid=3)
    with pytest.raises(ValueError, match="choose one of own radii"):
        radii("tuned", OF_THE_FIGURE, np.ones((2, 1)), np.ones(1))
