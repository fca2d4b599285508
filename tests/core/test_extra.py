"""A library that is missing is named with the extra that installs it, and before anything is computed for it."""

import importlib
import sys

import pytest
import torch
from torch import nn

import geosam
from geosam.ablation.outcomes import Outcomes
from geosam.core import extra


def test_a_missing_library_is_an_error_with_its_cure():
    why = "frames need nosuch: pip install 'geosam\\[ablation\\]', or none$"
    with pytest.raises(ImportError, match=why) as found, extra("ablation", "frames need nosuch", ", or none"):
        importlib.import_module("nosuch")
    assert isinstance(found.value.__cause__, ModuleNotFoundError)


def test_a_table_says_that_data_frames_need_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    problem = geosam.Problem(nn.Linear(2, 2), nn.CrossEntropyLoss()).on(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))
    table = geosam.compare(problem, [geosam.metrics.Euclidean()], rho=0.1)
    with pytest.raises(ImportError, match=r"need pandas: pip install 'geosam\[ablation\]'"):
        table.to_pandas()


def test_an_ablation_says_what_it_needs_before_it_trains(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(ImportError, match=r"need SciPy: pip install 'geosam\[ablation\]'"):
        geosam.ablate(lambda seed: pytest.fail("trained"), (torch.randn(4, 2), torch.zeros(4).long()), {"SGD": None})


@pytest.mark.parametrize("make", [lambda results, folder: results.figures(), lambda results, folder: results.report(folder)])
def test_results_say_that_figures_need_matplotlib(make, monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("geosam.ablation.")]:
        if name.rpartition(".")[2] in {"figures", "page"}:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"figures need matplotlib: pip install 'geosam\[ablation\]'"):
        make(geosam.ablation.Results(Outcomes([], {}, 0)), tmp_path)
