"""No geometry without laws: whatever the library exports has a row in a table."""

from typing import get_args

import pytest

import geosam
from geosam import metrics, norms, objectives
from tests.laws import metric_cases, norm_cases

ABSTRACT = (geosam.Norm, geosam.Metric, geosam.Objective)


def exported(module, *kinds):
    """Concrete classes of these kinds that the module exports."""
    found = [getattr(module, name) for name in module.__all__]
    return [c for c in found if isinstance(c, type) and not get_args(c) and issubclass(c, kinds) and c not in ABSTRACT]


@pytest.mark.parametrize("norm", exported(norms, geosam.Norm), ids=lambda norm: norm.__name__)
def test_every_norm_is_in_the_table(norm):
    assert any(norm.__name__ in case.name for case in norm_cases.CASES), "add a row to tests/laws/norm_cases.py"


@pytest.mark.parametrize("metric", exported(metrics, geosam.Metric), ids=lambda metric: metric.__name__)
def test_every_metric_is_in_the_table(metric):
    assert any(isinstance(case.metric, metric) for case in metric_cases.CASES), "add a row to tests/laws/metric_cases.py"


@pytest.mark.parametrize("objective", exported(objectives, geosam.Objective), ids=lambda objective: objective.__name__)
def test_every_objective_is_in_the_table(objective):
    assert any(isinstance(o, objective) for o in metric_cases.OBJECTIVES), "add it to tests/laws/metric_cases.py"
