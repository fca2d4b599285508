"""The argmax over the KL ball, against an optimiser, and where there is none."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from theory.invariance import geometries
from theory.invariance.geometries import RHO
from theory.invariance.kl_argmax import argmax, unbounded
from theory.invariance.table import instance

SEEDS = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(SEEDS, st.booleans())
def test_no_optimiser_does_better_than_the_argmax_nearby(seed, linearised):
    """SciPy's sequential quadratic programming, from the argmax pushed off its place."""
    for case in instance(seed).cases:
        if (linearised and case.kind.symmetry) or not np.isfinite((found := argmax(case, linearised)[1]).condition):
            continue
        side, y = case.old, case.targets

        def loss(theta, side=side, y=y):
            m, s = np.split(side.predict(theta), 2)
            return float((s + ((y - m) * np.exp(-s)) ** 2 / 2).mean())

        def rise(e, side=side, loss=loss):
            return float(side.gradient @ e) if linearised else loss(side.theta + e) - loss(side.theta)

        assert np.isclose(side.kl(side.theta + found.epsilon), RHO**2 / 2, rtol=1e-9)
        room = {"type": "ineq", "fun": lambda e, side=side: 1e4 * (RHO**2 / 2 - side.kl(side.theta + e))}
        start = found.epsilon * (1 + 0.1 * np.cos(np.arange(len(found.epsilon))))
        with np.errstate(all="ignore"):
            other = minimize(lambda e, rise=rise: -rise(e), start, constraints=[room], method="SLSQP")
        close = np.linalg.norm(other.x - found.epsilon) < 0.5 * np.linalg.norm(found.epsilon)
        if close and side.kl(side.theta + other.x) <= RHO**2 / 2 * (1 + 1e-6):
            assert rise(other.x) <= rise(found.epsilon) * (1 + 1e-4)


@settings(deadline=None)
@given(SEEDS)
def test_before_batch_norm_the_linearised_loss_is_never_bounded(seed):
    case = next(case for case in instance(seed).cases if case.column == "BatchNorm")
    assert unbounded(case) > 1e6 or not np.isfinite(geometries.fisher(case.old).condition)
