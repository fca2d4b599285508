"""F9 on all legal settings, its smallest counterexamples, and the examples."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.theory.smallest import assert_hypothesis_finds
from theory.basins import CLAIMS, SMALL_MU, Instance, at_equal_length, check, check_asam, check_side, examples
from theory.toy_dynamics import METHODS, iterates
from theory.toy_ends import End, ends, landscape
from theory.toy_loss import OF_THE_FIGURE
from theory.verdict import Outcome


@st.composite
def single(draw, mu=st.integers(-40, 40), radii=(1.0, 0.5, 0.25, 0.75, 1.25)):
    start = [[float(draw(mu))], [float(draw(st.integers(22, 60)))]]
    rho, lr = draw(st.sampled_from(radii)), draw(st.sampled_from([100.0, 80.0, 150.0]))
    return Instance(np.array(start), np.array([lr]), np.array([rho]))


@st.composite
def extreme(draw):
    n = draw(st.integers(1, 4))
    size = st.floats(1e-300, 1e300)

    def row(numbers):
        return draw(st.lists(numbers, min_size=n, max_size=n).map(np.array))

    mu, sigma = row(st.floats(-1e300, 1e300) | st.floats(-5, 5)), row(st.floats(22, 1e300) | st.floats(22, 60))
    return Instance(np.stack([mu, sigma]), row(size | st.floats(1, 200)), row(size | st.floats(0.01, 2)))


@settings(deadline=None, max_examples=12)
@given(extreme() | single())
def test_no_legal_setting_refutes_what_we_say(drawn):
    for claim in CLAIMS.values():
        verdict = claim.check(drawn)
        assert verdict.outcome in (claim.outcome, Outcome.UNDECIDED)
        assert verdict.outcome is claim.outcome or verdict.missing


@pytest.mark.parametrize(
    "name, strategy",
    [("F9", single()), ("F9.side", single()), ("F9.asam", single(st.integers(-5, 5), (1.0, 0.1, 0.5, 0.25)))],
)
def test_the_stored_counterexample_is_the_one_hypothesis_finds(name, strategy):
    assert_hypothesis_finds(CLAIMS[name], strategy, examples=500)


@pytest.mark.parametrize("name", ["SAM", "ASAM"])
def test_examples_show_both_orders_and_stand_small_changes(name):
    """FSAM crosses, is held, loses, wins; under changes of a thousandth as well, by runs of five times the length."""
    shown = examples(name)
    last = End.SHARP_SIDE if name == "SAM" else End.SHARP
    apart = [(End.FLAT_SIDE, End.SHARP), (End.SADDLE, End.SHARP), (last, End.FLAT), (End.FLAT, End.SHARP)]
    assert [x.ends for x in shown] == apart
    rng = np.random.default_rng(0)

    def near(values, n=20):
        return np.repeat(values, n) * (1 + 1e-3 * rng.uniform(-1, 1, n * len(values)))

    mu, sigma, lr = (near(values) for values in zip(*((*x.start, x.lr) for x in shown), strict=True))
    for method, radii, stated in (("FSAM", [x.rho for x in shown], 0), (name, [x.other for x in shown], 1)):
        found = ends(OF_THE_FIGURE, METHODS[method], np.stack([mu, sigma]), lr, near(radii), 1000)
        assert found.tolist() == [x.ends[stated] for x in shown for _ in range(20)]


def test_where_fsam_crosses_it_stays_beside_the_saddle():
    """The mean of a long run's second half is near the saddle and far from the minimum; let go, descent leads there."""
    crossed, land = examples("SAM")[0], landscape(OF_THE_FIGURE)
    start, lr, rho = np.array(crossed.start)[:, None], np.array([crossed.lr]), np.array([crossed.rho])
    walk = [it.theta for it, _ in zip(iterates(OF_THE_FIGURE, METHODS["FSAM"], start, lr, rho), range(4000), strict=False)]
    mean = np.mean(walk[2000:], 0)[:, 0]
    assert np.linalg.norm(mean - land.saddle) < land.reach / 2 < land.reach * 0.8 < np.linalg.norm(mean - land.flat)
    assert ends(OF_THE_FIGURE, METHODS["GD"], walk[-1], lr, rho, 1000)[0] == End.FLAT


def test_minima_and_sides_are_told_apart():
    """On the flat side beside the saddle, FSAM is not in the flat minimum; at the fourth example it is."""
    crossed, _, _, won = examples("SAM")
    for shown, at_minimum in ((crossed, Outcome.CORRECTED), (won, Outcome.UNDECIDED)):
        alone = Instance(np.array(shown.start)[:, None], np.array([shown.lr]), np.array([shown.rho]))
        assert shown.rho == shown.other and check(alone).outcome is at_minimum
        assert check_side(alone).outcome is Outcome.UNDECIDED and "both survive" in check_side(alone).missing


def test_the_third_example_matches_lengths():
    won = examples("SAM")[2]
    assert won.other == at_equal_length("SAM", won.start, won.rho)
    theta = np.array(won.start)[:, None]
    g = OF_THE_FIGURE.gradient(theta)
    lengths = [np.hypot(*METHODS[m](theta, g, np.array([r])))[0] for m, r in (("FSAM", won.rho), ("SAM", won.other))]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-12)


def test_figure_three_is_asked_only_where_mu_is_small():
    far = Instance(np.array([[-20.0], [25.0]]), np.array([100.0]), np.array([0.1]))
    assert check_asam(far).outcome is Outcome.UNDECIDED and str(int(SMALL_MU)) in check_asam(far).missing
    assert check(far).outcome is Outcome.CORRECTED


@pytest.mark.parametrize(
    "theta, lr, rho, message",
    [
        ([[0.0], [20.0]], [1.0], [1.0], "start above the saddle"),
        ([[0.0], [30.0]], [0.0], [1.0], "and the last two positive"),
        ([[0.0], [30.0]], [1.0], [-1.0], "and the last two positive"),
        ([[math.nan], [30.0]], [1.0], [1.0], "must be finite"),
        ([[0.0], [30.0]], [1.0, 2.0], [1.0], "pass theta"),
        ([[], []], [], [], "with n ≥ 1"),
    ],
)
def test_settings_that_are_none_are_an_error(theta, lr, rho, message):
    with pytest.raises(ValueError, match=message):
        Instance(np.array(theta), np.array(lr), np.array(rho))
