"""The study at its smallest, from end to end."""

import math
from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from experiments.common.runner import configured
from experiments.common.training import Training
from experiments.compare import report
from experiments.compare.config import Calibration, Config, Snapshots
from experiments.compare.methods import PUBLISHED, REFERENCE, SGD_EQUAL, Method
from experiments.compare.result import Outcome
from experiments.compare.study import Compare
from geosam.ablation.report import Picture
from geosam.metrics import Euclidean, GradientMagnitude, KLExact
from geosam.records import Store
from tests.experiments.carried import carried, records
from tests.experiments.page import Page

TINY = Config(
    methods=(Method(SGD_EQUAL, stretch=2), Method(REFERENCE, Euclidean())),
    seeds=(0,),
    training=Training(train_size=64, batch=16, width=4, epochs=2, warmup=1),
    calibration=Calibration(batches=2),
    snapshots=Snapshots(parts=(1.0,), metrics={REFERENCE: Euclidean(), PUBLISHED: GradientMagnitude()}),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("compare")
    return carried(Compare(TINY), out, figure=out / "elsewhere" / "overview.png")


def _records(out, config=TINY):
    return {record.result.method: record for record in records(Compare(config), out)}


def test_the_page_embeds_all_that_it_shows(finished):
    text = finished.page.read_text()
    tags = Page(text).tags
    figures = [attributes for tag, attributes in tags if tag == "figure"]
    assert len(figures) >= 7 and all(len(figure["aria-label"]) > 20 for figure in figures)
    assert not {"img", "script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    addresses = [value for _, attributes in tags for key, value in attributes.items() if key in ("src", "href", "srcset")]
    assert not any(address.startswith(("http", "//", "file")) for address in addresses)
    assert "url(" not in text


def test_the_page_says_how_far_the_published_setting_is_from_sam(finished):
    text = finished.page.read_text()
    looks = _records(finished.out)[REFERENCE].result.snapshots
    assert [look.epoch for look in looks] == [1, 2]
    gap = max(1 - look.cosine[0][1] for look in looks)
    assert 0 < gap < 0.1
    assert f"1 − cos ≤ {gap:.1e}" in text
    assert "decides nothing" in text


def test_figures_lie_beside_the_page(finished):
    out = finished.out
    pictures = [*(finished.page.parent / "figures").glob("*.png"), out / "elsewhere" / "overview.png"]
    assert {"overview", "accuracy", "cosines", "step_time"} <= {p.stem for p in pictures}
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)


def test_records_say_what_was_spent(finished):
    found = _records(finished.out)
    sgd, sam = found[SGD_EQUAL].result, found[REFERENCE].result
    assert sgd.epochs[-1].gradients == sam.epochs[-1].gradients == 4 + 8
    assert [e.kl for e in sgd.epochs] == [None, None]
    assert sam.epochs[0].kl is None
    assert math.isclose(sam.radius.rho, math.sqrt(math.prod(sam.radius.each)))


def test_a_second_call_trains_nothing_and_writes_the_same_numbers(finished):
    before = _records(finished.out)
    assert carried(Compare(TINY), finished.out, reports=False).ran == []
    assert _records(finished.out) == before


def test_a_broken_record_is_trained_again(finished):
    before = _records(finished.out)
    (run,) = [run for run in TINY.runs() if run.method.name == SGD_EQUAL]
    path = Store(finished.out / "records", Outcome).path(run)
    path.write_text(path.read_text()[:-100])
    assert carried(Compare(TINY), finished.out, reports=False).ran == [run.title]
    after = _records(finished.out)
    assert after[SGD_EQUAL].result.epochs == before[SGD_EQUAL].result.epochs
    assert after[REFERENCE] == before[REFERENCE]


def test_a_changed_setting_trains_only_what_it_concerns(finished):
    more = replace(TINY, methods=(*TINY.methods, Method("KLExact along Euclidean", KLExact(along=Euclidean()))))
    assert carried(Compare(more), finished.out, reports=False).ran == ["KLExact along Euclidean, seed 0"]
    found = _records(finished.out, more)
    warm = found["KLExact along Euclidean"].result.epochs[0]
    assert warm == found[REFERENCE].result.epochs[0], "methods share the warm-up"


def test_a_run_that_fails_is_named_in_the_page_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "_shown", lambda draw, *_, **__: Picture(draw.__name__, "", Figure))
    saturated = Compare(replace(TINY, calibration=Calibration(kl=1e6, batches=1)))
    done = carried(saturated, tmp_path)
    assert done.page is None, "the caller must be able to tell"
    assert len(done.ran) == 2
    text = (tmp_path / configured(saturated) / "report.html").read_text()
    assert "are missing" in text
    assert f"{REFERENCE}, seed 0" in text
    assert [record is None for record in records(saturated, tmp_path)] == [True, False]
