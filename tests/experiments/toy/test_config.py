"""Random settings, designs, and bad configurations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.toy.config import MATCHED, NAMES, OWN, Config, Settings, radii
from theory.toy_dynamics import METHODS
from theory.toy_ends import landscape
from theory.toy_loss import OF_THE_FIGURE


@given(st.integers(0, 2**32 - 1))
def test_settings_lie_in_their_ranges(seed):
    ranges = Settings()
    theta, lr, rho = ranges.draw(OF_THE_FIGURE, seed, 50)
    assert (theta[1] > landscape(OF_THE_FIGURE).saddle[1]).all() and (theta[1] <= ranges.top).all()
    for values, (low, high) in ((theta[0], ranges.mu), (lr, ranges.lr), (rho, ranges.rho)):
        assert (values >= low * (1 - 1e-12 * np.sign(low))).all() and (values <= high * (1 + 1e-12)).all()
    assert (ranges.draw(OF_THE_FIGURE, seed, 50)[0] == theta).all()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_designs_differ_in_what_is_equal(seed):
    theta, _, rho = Settings().draw(OF_THE_FIGURE, seed, 20)
    g = OF_THE_FIGURE.gradient(theta)
    assert all((r == rho).all() for r in radii(OWN, OF_THE_FIGURE, theta, rho).values())
    matched = radii(MATCHED, OF_THE_FIGURE, theta, rho)
    length = np.hypot(*METHODS["FSAM"](theta, g, rho))
    for name in NAMES[1:]:
        reach = np.isfinite(matched[name])  # a KL ball never leaves the domain, and FSAM's step may
        assert name == "KL" or reach.all()
        mine = np.hypot(*METHODS[name](theta, g, matched[name]))
        assert mine[reach] == pytest.approx(length[reach], rel=1e-6)


def test_bad_configurations_name_their_cure():
    with pytest.raises(ValueError, match="at least one each"):
        Config(seeds=3, settings=2)
    with pytest.raises(ValueError, match="take at least 4"):
        Config(grid=3)
    with pytest.raises(ValueError, match="choose one of own radii"):
        radii("tuned", OF_THE_FIGURE, np.ones((2, 1)), np.ones(1))
