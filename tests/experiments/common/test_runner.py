"""From jobs to a report: what is run, saved and said, and what a failure does."""

from dataclasses import dataclass

import pytest
from matplotlib.figure import Figure
from pydantic import BaseModel

from experiments.common.study import Part, Report
from geosam.ablation.report import saved
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

    def report(self, finished, out):
        if self.whole and finished.failed:
            return None
        page = out / "page.txt"
        page.write_text(f"{[record.result.value for record in finished.records]}, failed: {finished.failed}")
        return Report(page, saved(Figure(), out, "overview"), ["one line"])


def test_all_parts_are_run_and_reported_in_order(tmp_path):
    done = carried(Sums((1, 2)), tmp_path, figure=tmp_path / "elsewhere" / "figure.png")
    assert done.page == tmp_path / "page.txt" and done.page.read_text() == "[1, 4, 1, 0], failed: []"
    assert [record.result.value for record in records(Sums((1, 2)), tmp_path)] == [1, 4, 1, 0]
    assert (tmp_path / "elsewhere" / "figure.png").read_bytes() == (tmp_path / "figures" / "overview.png").read_bytes()
    assert "one line" in done.said and str(done.page) in done.said
    assert carried(Sums((1, 2)), tmp_path).ran == []


def test_a_failure_is_told_to_the_caller_and_the_others_are_reported(tmp_path):
    done = carried(Sums((0, 1)), tmp_path)
    assert done.page is None
    assert (tmp_path / "page.txt").read_text() == "[0, 1, 1], failed: ['job 0']"


def test_a_study_may_refuse_to_report_a_part(tmp_path):
    done = carried(Sums((0, 1), whole=True), tmp_path)
    assert done.page is None and not (tmp_path / "page.txt").exists()
    assert "1 of 4 jobs failed" in done.said
    assert [record is None for record in records(Sums((0, 1)), tmp_path)] == [False, False, True, False]


def test_without_any_record_there_is_nothing_to_report(tmp_path):
    done = carried(Sums(()), tmp_path)
    assert done.page is None and "nothing to report" in done.said


@pytest.mark.parametrize("kind", [Job, Sums])
def test_records_are_told_apart_by_the_type_of_their_job(kind, tmp_path):
    found = []

    @dataclass(frozen=True)
    class Asking(Sums):
        def report(self, finished, out):
            found.extend(finished.of(kind))
            return super().report(finished, out)

    carried(Asking((3,)), tmp_path)
    assert [(job.seed, record.result.value) for job, record in found] == ([(3, 9), (3, 0)] if kind is Job else [])
