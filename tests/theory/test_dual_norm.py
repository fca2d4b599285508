"""SAM's, ASAM's and Fisher SAM's closed forms against optimisers that know nothing of them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from tests.theory.decided import verdicts
from theory.dual_norm import Instance, check, instance, perturbations
from theory.verdict import Outcome

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def instances(draw):
    """Any scale, ill-conditioned F, and zeros among the entries of gradient and θ."""
    n = draw(st.integers(1, 5))
    numbers = st.integers(-3, 3) | st.floats(-8, 8, width=32)
    scales = st.sampled_from([1e-60, 1e-20, 1e-3, 1.0, 1e8, 1e30])
    gradient, theta = (draw(arrays(float, n, elements=numbers)) * draw(scales) for _ in range(2))
    root, damping = draw(arrays(float, (n, n), elements=numbers)), 10.0 ** draw(st.integers(-12, 3))
    return Instance(gradient, theta, (root @ root.T + damping * np.eye(n)) * draw(scales), draw(scales))


def legal(build):
    """Drop what rounding leaves without a Cholesky factor: the constructor refuses it."""
    return build.filter(lambda drawn: drawn is not None)


@st.composite
def legal_instances(draw):
    try:
        return draw(instances())
    except ValueError:
        return None


def test_the_closed_forms_hold_to_rounding():
    assert all(verdict.worst_error < 1e-12 for verdict in verdicts("F1"))


@settings(deadline=None, max_examples=150)
@given(legal(legal_instances()))
def test_no_gradient_metric_or_radius_refutes_the_closed_forms(drawn):
    assert check(drawn).outcome in (Outcome.HOLDS, Outcome.UNDECIDED)


@settings(deadline=None, max_examples=15)
@given(SEEDS)
def test_an_optimiser_finds_no_better_value(seed):
    drawn = instance(seed)
    size = np.linalg.norm(drawn.gradient)
    for metric, best in perturbations(drawn).values():
        # In units of the ball's axes and of the gradient, so that scales do not stop the optimiser early.
        root = np.linalg.cholesky(metric)
        value = drawn.gradient @ best
        start = np.random.default_rng(seed).normal(size=len(best)) / 10
        back = np.linalg.inv(root.T) * drawn.radius
        found = minimize(
            lambda w, back=back, value=value: -(drawn.gradient @ back @ w) / value,
            start,
            constraints={
                "type": "ineq",
                "fun": lambda w, back=back, metric=metric: 1 - (w @ back.T @ metric @ back @ w) / drawn.radius**2,
            },
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        assert size > 0 and -found.fun == pytest.approx(1, abs=1e-6)
        assert np.allclose(back @ found.x, best, atol=1e-3 * np.linalg.norm(best))


@pytest.mark.parametrize("seed", range(5))
def test_in_the_plane_no_angle_is_better(seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(2, 2))
    drawn = Instance(rng.normal(size=2), rng.normal(size=2), root @ root.T + np.eye(2) / 10, 0.7)
    angle = np.linspace(0, 2 * np.pi, 100_001)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    for metric, best in perturbations(drawn).values():
        edge = drawn.radius * circle / np.sqrt(np.einsum("ia,ij,ja->a", circle, metric, circle))
        assert (drawn.gradient @ edge).max() == pytest.approx(drawn.gradient @ best, rel=1e-6)
        assert (drawn.gradient @ edge).max() <= (drawn.gradient @ best) * (1 + 1e-12)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.sampled_from(["eq. 2", "eq. 5", "eq. 10"]), st.booleans(), st.sampled_from([1e-8, 1e-4, 1.0]))
def test_a_wrong_length_or_direction_of_any_form_is_noticed(seed, form, length, size):
    drawn = instance(seed)
    true = perturbations(drawn)
    metric, best = true[form]
    aside = np.random.default_rng([seed, 1]).normal(size=len(best)) * np.linalg.norm(best)
    wrong = best * (1 + size) if length or len(best) == 1 else best + size * (aside - best * (aside @ best) / (best @ best))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("theory.dual_norm.perturbations", lambda *_: {**true, form: (metric, wrong)})
        verdict = check(drawn)
    assert verdict.outcome is Outcome.FAILS and verdict.counterexample.startswith(form)


def test_a_weight_of_zero_is_pinned():
    drawn = Instance(np.array([1.0, 2.0]), np.array([0.0, 3.0]), np.eye(2), 0.5)
    assert perturbations(drawn)["eq. 5"][1].tolist() == [0.0, 1.5]
    assert check(drawn).outcome is Outcome.HOLDS


@pytest.mark.parametrize("gradient, theta", [([0.0, 0.0], [1.0, 1.0]), ([1.0, 0.0], [0.0, 1.0]), ([1.0, 1.0], [0.0, 0.0])])
def test_a_gradient_that_a_ball_does_not_see_decides_nothing(gradient, theta):
    verdict = check(Instance(np.array(gradient), np.array(theta), np.eye(2), 1.0))
    assert verdict.outcome is Outcome.UNDECIDED and "not zero" in verdict.missing


@pytest.mark.parametrize(
    "change, cause",
    [
        ({"radius": 0.0}, "leaves no ball; pass a positive number"),
        ({"radius": -1.0}, "leaves no ball; pass a positive number"),
        ({"radius": np.nan}, "pass finite numbers"),
        ({"gradient": np.array([np.nan, 1.0])}, "pass finite numbers"),
        ({"theta": np.array([np.inf, 1.0])}, "pass finite numbers"),
        ({"fisher": np.array([[1.0, 1.0], [1.0, 1.0]])}, r"not symmetric positive definite.*pass F \+ ηI"),
        ({"fisher": np.array([[1.0, 0.5], [0.0, 1.0]])}, r"not symmetric positive definite.*pass F \+ ηI"),
        ({"fisher": -np.eye(2)}, r"not symmetric positive definite.*pass F \+ ηI"),
        ({"theta": np.ones(3)}, "needs theta of that length"),
        ({"gradient": np.ones(0)}, "pass n ≥ 1"),
    ],
)
def test_bad_input_names_cause_and_cure(change, cause):
    drawn = Instance(np.ones(2), np.ones(2), np.eye(2), 1.0)
    with pytest.raises(ValueError, match=cause):
        replace(drawn, **change)
