"""From jobs to a report: what is run, saved and said, and what a failure does."""

from dataclasses import dataclass

import pytest
from matplotlib.figure import Figure
from pydantic import BaseModel

from experiments.common.runner import configured, found
from experiments.common.study import Part
from geosam.ablation.report import Page, Picture
from tests.experiments.carried import carried, records


class Number(BaseModel):
    value: int


@dataclass(frozen=True)
class Job:
    seed: int

    @property
    def title(self):
        return f"job {self.seed}"


def square(job):
    return Number(value=job.seed**2)


def inverse(job):
    return Number(value=1 // job.seed)


@dataclass(frozen=True)
class Sums:
    """Two kinds of jobs; job 0 of the second fails. whole: no report where one fails."""

    seeds: tuple[int, ...]
    whole: bool = False

    def parts(self):
        jobs = [Job(seed) for seed in self.seeds]
        return [Part(jobs, square, Number, "squares"), Part(jobs, inverse, Number, "inverses")]

    def page(self, finished):
        if self.whole and finished.failed:
            return None
        values = f"{[record.result.value for record in finished.records]}"
        return Page("Sums", values, Picture("overview", "Nothing to read.", Figure), said=["one line"], beside={"sums.json": 1})


def folder(study, out):
    return out / configured(study)


def test_all_parts_are_run_and_reported_in_order(tmp_path):
    done = carried(Sums((1, 2)), tmp_path, figure=tmp_path / "elsewhere" / "figure.png")
    mine = folder(Sums((1, 2)), tmp_path)
    assert done.page == mine / "report.html" and "[1, 4, 1, 0]" in done.page.read_text() and (mine / "sums.json").exists()
    assert "missing" not in done.page.read_text()
    assert [record.result.value for record in records(Sums((1, 2)), tmp_path)] == [1, 4, 1, 0]
    assert (tmp_path / "elsewhere" / "figure.png").read_bytes() == (mine / "figures" / "overview.png").read_bytes()
    assert "one line" in done.said and str(done.page) in done.said
    assert carried(Sums((1, 2)), tmp_path).ran == []


def test_a_failure_is_told_to_the_caller_and_the_others_are_reported(tmp_path):
    done = carried(Sums((0, 1)), tmp_path)
    assert done.page is None
    text = (folder(Sums((0, 1)), tmp_path) / "report.html").read_text()
    assert "[0, 1, 1]" in text and "are missing from all that follows: job 0." in text


def test_a_study_may_refuse_to_report_a_part(tmp_path):
    done = carried(Sums((0, 1), whole=True), tmp_path)
    assert done.page is None and not folder(Sums((0, 1), whole=True), tmp_path).exists()
    assert "1 of 4 jobs failed" in done.said
    assert [record is None for record in records(Sums((0, 1)), tmp_path)] == [False, False, True, False]


def test_without_any_record_there_is_nothing_to_report(tmp_path):
    done = carried(Sums(()), tmp_path)
    assert done.page is None and "nothing to report" in done.said


def test_no_configuration_writes_over_the_page_of_another(tmp_path):
    before = carried(Sums((1, 2)), tmp_path).page
    text = before.read_bytes()
    other = carried(Sums((1, 2, 3)), tmp_path).page
    assert other != before and before.read_bytes() == text and other.read_bytes() != text


def test_a_page_is_found_from_records_alone(tmp_path):
    assert found(Sums((1, 2)), tmp_path) is None
    carried(Sums((1, 2)), tmp_path)
    again = found(Sums((1, 2, 5)), tmp_path)
    assert again is not None
    page, finished = again
    assert page.lead == "[1, 4, 1, 0]" and finished.failed == ["job 5", "job 5"]
    assert found(Sums((1, 2)), tmp_path / "records") is not None, "a folder of records alone is one as well"


@pytest.mark.parametrize("kind", [Job, Sums])
def test_records_are_told_apart_by_the_type_of_their_job(kind, tmp_path):
    asked = []

    @dataclass(frozen=True)
    class Asking(Sums):
        def page(self, finished):
            asked.extend(finished.of(kind))
            return super().page(finished)

    carried(Asking((3,)), tmp_path)
    assert [(job.seed, record.result.value) for job, record in asked] == ([(3, 9), (3, 0)] if kind is Job else [])
