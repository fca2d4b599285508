"""Each study's own picture shows what its records hold."""

from experiments.budget.figures import draw as budget
from experiments.magnitude.figures import draw as magnitude
from experiments.perturb.figures import draw as perturb
from experiments.perturb.figures import panels
from experiments.sensitivity.figures import draw as sensitivity
from experiments.sensitivity.figures import maps, place
from experiments.sensitivity.presets import cell, sam
from geosam.ablation import Results
from tests.experiments.planted import outcomes


def results(methods, **changes):
    return {"clean": Results(outcomes(methods, seeds=2, **changes))}


def axes_of(drawn):
    (picture,) = drawn
    return picture.draw().axes


def curves(drawn):
    return [len(axes.lines) for axes in axes_of(drawn)]


def test_a_line_a_method_along_training():
    rows = {name: ({}, [{}, {"kl": 0.1, "spent": 1.0}, {"kl": 0.2, "spent": 2.0}]) for name in ("SAM", "mine")}
    assert curves(budget(results(rows))) == [2, 3]  # with the line of KL = ρ²/2
    row = {"direction": 0.7, "epsilon": 0.8, "scale": 0.02, "fisher": 30.0}
    assert curves(magnitude(results({"SAM": ({}, [row, row])}))) == [2] * 4


def test_a_heat_map_has_a_cell_a_method():
    rows = {cell(0.1, 1.0): ({"accuracy": 0.9}, [{}, {"gap": 1e-4}]), sam(0.5): ({"accuracy": 0.8}, [])}
    found = results(rows)
    accuracy, gap = maps(found["clean"])
    assert set(accuracy) == {(0.1, 1.0), (0.5, 0.0)} and set(gap) == {(0.1, 1.0)} and 90 < accuracy[0.1, 1.0] < 91
    assert [len(axes.texts) for axes in axes_of(sensitivity(found))] == [2, 1]
    assert place("SGD") is None


def test_a_panel_a_direction_and_a_diverged_run_is_left_out():
    score = {"adversarial, Euclidean, α 0.1": 0.9, "adversarial, Euclidean, α 1": 0.5, "Gaussian, Euclidean, α 0.1": 0.9}
    found = results({"SAM": (score, []), "mine": (score, [])})
    found["clean"].records[0].result["diverged"] = True
    drawn = panels(found["clean"])
    assert [a for a, _ in drawn["adversarial, Euclidean"]["SAM"]] == [0.1, 1.0] and set(drawn) == {
        "adversarial, Euclidean",
        "Gaussian, Euclidean",
    }
    assert curves(perturb(found)) == [2, 2]
