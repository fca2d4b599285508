"""No graph break in metric and solve."""

import pytest

from experiments.benchmarks.graph import METRICS, graph_breaks


@pytest.mark.parametrize("name", METRICS)
def test_metric_and_solve_are_one_graph(name):
    assert graph_breaks(METRICS[name]) == 0
