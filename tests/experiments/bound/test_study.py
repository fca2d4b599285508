"""The bounds on trained models at their smallest, from end to end."""

import math

import pytest
import torch

from experiments.bound.config import METHODS, Config
from experiments.bound.study import Bound
from experiments.bound.summary import verdict
from tests.experiments.bound.smallest import TINY
from tests.experiments.carried import carried, records

STUDY = Bound(Config(seeds=1, training=TINY))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("bound")
    return carried(STUDY, out, figure=out / "elsewhere" / "bound.png")


@pytest.fixture(scope="module")
def results(finished):
    return [record.result for record in records(STUDY, finished.out)]


def test_a_logistic_model_has_a_regular_fisher_and_a_relu_network_has_not(results):
    found = {(r.model, r.method): r for r in results}
    assert found["logistic", "SAM"].null_directions == 0 and found["logistic", "SAM"].parameters == 9 * 4
    assert found["mlp", "SAM"].null_directions >= 3 + (3 + 1), "a rescaling a unit, and a shift of the last layer's columns"


def test_no_cover_beats_the_floor_and_only_a_euclidean_ball_has_sams_bound(results):
    assert all(r.floor <= r.proved for r in results)
    assert [r.sam is not None for r in results] == [r.method == "SAM" for r in results]
    assert all(0 <= r.test <= 1 and r.worst >= r.train for r in results)


def test_what_is_added_by_another_way(results):
    """For SAM's geometry in closed form, at the best of many r."""
    out, n = results[0], TINY.train_size
    b, k = out.travelled / METHODS[0].gamma, out.parameters
    values = []
    for t in torch.logspace(-3, 1, 4001, dtype=torch.float64).tolist():
        fit = t**2 * (math.sqrt(k) + math.sqrt(math.log(n))) ** 2 / 2 + math.log(n / 0.05)
        values.append(math.sqrt((fit + k * math.log(1 + 2 * b / t)) / (2 * (n - 1))))
    assert out.proved == pytest.approx(min(values) + n**-0.5, rel=1e-5)


def test_the_study_writes_a_table_and_a_picture(finished):
    text = finished.page.read_text()
    assert all(words in text for words in ("vacuous", "has no bounded range", "not covered"))
    assert text.count('<th scope="row">logistic, ') == 2 * 3 and "n = 200 digits, and both theorems at δ = 0.05: 6 runs" in text
    for folder in (finished.page.parent / "figures", finished.out / "elsewhere"):
        assert (folder / "bound.png").read_bytes().startswith(b"\x89PNG")
    assert "vacuous" in finished.said and len(finished.ran) == 6


def test_records_are_used_again(finished):
    assert carried(STUDY, finished.out, reports=False).ran == []


@pytest.mark.parametrize(
    "floor, proved, sam, expected",
    [
        (0.1, 0.2, 0.3, "0.40, with every constant in its favour; SAM's own says 0.50"),
        (0.1, 0.9, 2.0, "vacuous as proved; no cover gets it below 0.30; SAM's own is vacuous"),
        (0.9, 1.9, 2.0, "vacuous, whatever the cover; SAM's own is vacuous"),
    ],
)
def test_the_words_follow_the_numbers(results, floor, proved, sam, expected):
    outcome = results[0].model_copy(update={"worst": 0.2, "floor": floor, "proved": proved, "sam": sam})
    assert verdict("SAM", [outcome]) == expected
