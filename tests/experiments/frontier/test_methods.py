"""One damping for all methods."""

from dataclasses import replace

from experiments.frontier.methods import EXACT, METHODS, SHARED, damped
from geosam import Relative
from geosam.metrics import GradientMagnitude


def test_damped_reaches_every_relative_damping_and_no_number():
    for method in METHODS:
        again = damped(method.metric, 7.0)
        assert "Relative(ratio=0.001)" not in repr(again) and damped(again, SHARED.ratio) == method.metric
    assert damped(GradientMagnitude(1.0, 0.3), 7.0) == GradientMagnitude(1.0, 0.3)
    assert damped(EXACT, 7.0) == replace(EXACT, damping=Relative(7.0))
