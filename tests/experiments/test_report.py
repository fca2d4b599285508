"""All studies on one page: which are found, by which options, and what is said of the others."""

import io
import json
import shutil

import pytest
from rich.console import Console

from experiments.common.files import ROOT
from experiments.report.study import Everything, configurations, pages

RECORDS = ROOT / "experiments" / "records"


@pytest.fixture
def some(tmp_path):
    """A folder with two studies, one of them in the layout of an ``--out`` folder."""
    shutil.copytree(RECORDS / "bound", tmp_path / "bound" / "records")
    (tiny,) = (RECORDS / "fast").glob("tiny-*")
    shutil.copytree(tiny, tmp_path / "fast" / tiny.name)
    return tmp_path


def test_a_page_has_a_section_a_study_and_names_those_without_records(some):
    out, said = some / "out", io.StringIO()
    path = Everything(some).carry_out(out, workers=1, fresh=False, figure=None, console=Console(file=said, width=300))
    text = path.read_text()
    assert path.parent.parent == out and str(path) in said.getvalue()
    assert all(f"<h2>{title}</h2>" in text for title in ("Claims", "What the PAC-Bayes bounds say", "The fast recipe"))
    assert "No record here of budget, classify, compare, finetune, frontier" in text
    assert "2 studies" in text and text.count("<figure ") == 2
    assert {picture.name for picture in (path.parent / "figures").glob("*.png")} == {"bound-0-bound.png", "fast-1-overview.png"}


def test_where_there_is_nothing_it_says_so(tmp_path):
    said = io.StringIO()
    console = Console(file=said, width=300)
    assert Everything(tmp_path).carry_out(tmp_path, workers=1, fresh=False, figure=None, console=console) is None
    assert "No study has a record" in said.getvalue() and list(tmp_path.iterdir()) == []


def test_a_study_is_made_of_the_options_that_its_records_were(some):
    assert configurations(some / "bound") == [{}] and configurations(some / "fast") == [{"preset": "tiny"}]
    assert configurations(RECORDS / "fast") == [{"preset": "small"}, {"preset": "tiny"}]
    for seeds in (1, 2):
        folder = some / "bound" / f"{seeds}"
        folder.mkdir()
        (folder / "command.json").write_text(json.dumps({"seeds": seeds}))
    found = {page.lead.rpartition(": ")[2] for name, page, _ in pages(some) if name == "bound"}
    assert found == {"6 runs.", "12 runs."}
    assert configurations(RECORDS / "frontier") == [{"seeds": 3}, {"seeds": 3, "batches": 1, "preset": "small"}]


def test_counts_are_shown_where_records_are_too_many_to_keep(tmp_path):
    shutil.copytree(RECORDS / "toy", tmp_path / "toy")
    ((name, page, shown),) = pages(tmp_path)
    filed = json.loads((tmp_path / "toy" / "summary.json").read_text())
    assert name == "toy" and f"{filed['settings']:,} random settings" in page.lead and list(shown.records) == []
    assert [row[0] for row in page.table.rows] == [each["rho"] for each in filed["by_radius"]]
    assert "725 : 0 on their sides" in page.verdict.big and page.picture.figures()["wide"].axes
    (tmp_path / "toy" / "summary.json").write_text(json.dumps({**filed, "key": "of another configuration"}))
    assert list(pages(tmp_path)) == []
