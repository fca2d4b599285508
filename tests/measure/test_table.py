"""Results as tables: in a terminal, a notebook, with rich, as a data frame."""

import io

import pytest
import torch

import geosam
from geosam import metrics
from tests.networks import build, draw

MODEL = build(lambda: torch.nn.Linear(3, 2))
BOUND = geosam.Problem(MODEL, torch.nn.CrossEntropyLoss()).on(draw(6, 3), torch.tensor([0, 1] * 3))


@pytest.fixture(scope="module")
def compared():
    given = [metrics.Euclidean(), metrics.GradientMagnitude(), metrics.GradientMagnitude(damping=1e-3)]
    return geosam.compare(BOUND, given, match=geosam.KL(1e-3))


def test_two_of_one_class_are_named_by_what_differs(compared):
    assert compared.names == ["Euclidean", "GradientMagnitude(damping=1.0)", "GradientMagnitude(damping=0.001)"]
    one = geosam.compare(BOUND, metrics.Euclidean(), rho=0.1)
    assert one.names == ["Euclidean"]
    with pytest.raises(ValueError, match=r"are the same.*give them names"):
        geosam.compare(BOUND, [metrics.Euclidean(), metrics.Euclidean()], rho=0.1)


def test_all_forms_have_every_name_and_number(compared):
    rich = pytest.importorskip("rich.console").Console(file=io.StringIO(), width=200)
    rich.print(compared)
    number = f"{compared.rows[0].rho:.3g}"
    for said in (str(compared), compared._repr_html_(), rich.file.getvalue()):
        assert number in said and all(name in said for name in compared.names)
    assert "<td" not in str(compared) and "<script" not in compared._repr_html_()


def test_a_name_is_text_in_a_notebook():
    page = geosam.compare(BOUND, {"<b>&": metrics.Euclidean()}, rho=0.1)._repr_html_()
    assert "&lt;b&gt;&amp;" in page and "<b>" not in page


def test_data_frames(compared):
    pytest.importorskip("pandas")
    frame = compared.to_pandas()
    assert list(frame["name"]) == compared.names and frame["rho"][1] == compared.rows[1].rho
    assert frame["cosine Euclidean"][0] == pytest.approx(1.0)
    several = geosam.sharpness([BOUND, BOUND], metrics.Euclidean(), 0.1, samples=2, steps=1)
    assert list(several.to_pandas()["worst"]) == [one.worst for one in several.each]


def test_sharpness_prints_a_line_a_batch():
    several = geosam.sharpness([BOUND, BOUND], metrics.Euclidean(), 0.1, samples=2, steps=1)
    lines = str(several).splitlines()
    assert len(lines) == 4 and lines[1].startswith("mean") and "±" in lines[1] and lines[1].endswith("yes")
    bare = str(geosam.sharpness(BOUND, metrics.Euclidean(), 0.1, samples=0, iterations=0, steps=1))
    assert bare.splitlines()[1].split()[-1] == "-"


def test_what_cannot_be_sampled_is_said_before_anything_is_computed():
    calls = []
    model = torch.nn.Linear(3, 2)
    model.register_forward_hook(lambda *_: calls.append(1))
    bound = geosam.Problem(model, torch.nn.CrossEntropyLoss()).on(BOUND.x, BOUND.y)
    geosam.sharpness(bound, metrics.Fisher(rows_limit=1), 0.1, samples=0, iterations=0, steps=1)
    before = len(calls)
    with pytest.raises(NotImplementedError, match=r"cannot be sampled.*samples=0"):
        geosam.sharpness(bound, metrics.Fisher(rows_limit=1), 0.1)
    assert len(calls) - before < before  # those of the observation only
