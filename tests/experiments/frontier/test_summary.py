"""What lies on the frontier."""

import pandas as pd

from experiments.frontier.summary import frontier


def test_the_frontier_holds_what_nothing_cheaper_beats():
    points = pd.DataFrame(
        {"time": [1.0, 2.0, 2.0, 3.0, 4.0, 5.0], "efficiency": [0.2, 0.5, 0.4, 0.5, None, 0.9]}, index=list("abcdef")
    )
    assert list(frontier(points).index) == ["a", "b", "f"]
