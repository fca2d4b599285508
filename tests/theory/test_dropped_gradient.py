"""What ∇ε* contributes: of second order for constant metrics, of first order for the others."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.func import grad, jacrev

from tests.theory.decided import verdicts
from tests.theory.smallest import assert_hypothesis_finds
from theory.dropped_gradient import CLAIMS, METRICS, Instance, check, instance, terms
from theory.verdict import Outcome

SEEDS = st.integers(0, 2**32 - 1)


def made(inputs, labels, theta, **options):
    inputs, labels, theta = (torch.as_tensor(np.array(part, dtype=float)) for part in (inputs, labels, theta))
    return Instance(inputs, labels, theta, **options)


@st.composite
def plain_instances(draw):
    """One input and integers, for counterexamples that can be read."""
    size = draw(st.integers(1, 2))
    numbers = st.lists(st.integers(0, 2), min_size=size, max_size=size)
    return made([draw(numbers)], [1], draw(numbers), logistic=draw(st.sampled_from([True, False])))


@st.composite
def instances(draw):
    """Any scale; zero weights and inputs, saturated and interpolated samples, and more parameters than samples."""
    n, d, hidden = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.sampled_from([0, 1, 2]))
    logistic = draw(st.booleans())
    numbers = st.integers(-3, 3) | st.floats(-8, 8, width=16)
    scales = st.sampled_from([1e-6, 1e-3, 1.0, 1e2])
    inputs, theta = (draw(arrays(float, s, elements=numbers)) * draw(scales) for s in ((n, d), hidden * (d + 1) or d))
    labels = draw(arrays(float, n, elements=st.sampled_from([-1.0, 1.0]) if logistic else numbers))
    return made(inputs, labels, theta, hidden=hidden, logistic=logistic, damping=draw(st.sampled_from([1e-4, 0.1, 1.0, 1e3])))


def first_order(drawn, name):
    """‖dropped‖ and ‖added‖ over γ at a γ where the rest is negligible, and the two vectors."""
    radius = torch.tensor([1e-9], dtype=torch.float64)
    _, dropped, _ = terms(drawn, radius)
    metric = METRICS.index(name)
    added = jacrev(grad(drawn.loss))(drawn.theta) @ drawn.unit(drawn.theta)[metric]
    return dropped[0, metric] / radius, added


def test_the_stored_counterexample_is_the_smallest_that_hypothesis_finds():
    assert_hypothesis_finds(CLAIMS["F10a"], plain_instances(), examples=150)


def test_the_counterexamples_are_of_metrics_that_move():
    for verdict in verdicts("F10a"):
        assert "no O(γ²)" in verdict.counterexample and "SAM:" not in verdict.counterexample.replace("ASAM:", "")


@settings(deadline=None, max_examples=40)
@given(instances())
def test_no_model_refutes_the_correction(drawn):
    assert check(drawn).outcome in (Outcome.CORRECTED, Outcome.UNDECIDED)
    assert check(drawn, altered=True).outcome in (Outcome.FAILS, Outcome.UNDECIDED, Outcome.CORRECTED)


@settings(deadline=None, max_examples=10)
@given(SEEDS, st.floats(1e-3, 1))
def test_kept_and_dropped_are_the_gradient_of_the_composition(seed, size):
    drawn = instance(seed)
    added, dropped, _ = terms(drawn, torch.tensor([size]).double())
    for metric, both in enumerate(added[0] + dropped[0]):
        whole = grad(lambda theta, m=metric: drawn.loss(theta + size * drawn.unit(theta)[m]))(drawn.theta)
        torch.testing.assert_close(grad(drawn.loss)(drawn.theta) + both, whole)


@settings(deadline=None, max_examples=10)
@given(SEEDS)
def test_the_gradient_of_the_composition_is_that_by_central_differences(seed):
    drawn, size, step = instance(seed), 0.1, 1e-5
    added, dropped, _ = terms(drawn, torch.tensor([size]).double())
    total = grad(drawn.loss)(drawn.theta) + added[0] + dropped[0]
    for k, direction in enumerate(torch.eye(len(drawn.theta)).double()):
        ahead, behind = (
            [drawn.loss(theta + size * u) for u in drawn.unit(theta)]
            for theta in (drawn.theta + step * direction, drawn.theta - step * direction)
        )
        slope = (torch.stack(ahead) - torch.stack(behind)) / (2 * step)
        torch.testing.assert_close(total[:, k], slope, rtol=1e-3, atol=1e-5)


@settings(deadline=None, max_examples=10)
@given(SEEDS)
def test_only_a_constant_metric_drops_nothing_of_first_order(seed):
    drawn = instance(seed)
    g = grad(drawn.loss)(drawn.theta)
    for name in METRICS:
        dropped, added = first_order(drawn, name)
        # The Fisher matrix of a linear model with Gaussian noise does not depend on θ either.
        constant = name == "SAM" or (name == "Fisher" and not drawn.hidden and not drawn.logistic)
        assert (dropped.norm() < 1e-5 * added.norm()) == constant, name
    dropped, added = first_order(drawn, "Monge")
    torch.testing.assert_close(dropped, -added * (g @ g) / (1 + g @ g), rtol=1e-5, atol=1e-8)
    dropped, _ = first_order(drawn, "ASAM")
    torch.testing.assert_close(dropped, drawn.theta * g**2 / (drawn.theta * g).norm(), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_without_damping_gradient_magnitude_drops_all_that_it_adds(seed):
    drawn = replace(instance(seed), damping=1e-14)
    dropped, added = first_order(drawn, "gradient magnitude")
    assert (dropped + added).norm() < 1e-3 * added.norm()


def test_sam_on_a_quadratic_drops_the_projected_square():
    drawn = made([[2.0, 1.0], [0.0, 3.0]], [1.0, -1.0], [0.5, 0.7], logistic=False)
    matrix, g = jacrev(grad(drawn.loss))(drawn.theta), grad(drawn.loss)(drawn.theta)
    u = g / g.norm()
    _, dropped, _ = terms(drawn, torch.tensor([0.3]).double())
    expected = 0.3**2 / g.norm() * matrix @ (matrix @ u - u * (u @ matrix @ u))
    torch.testing.assert_close(dropped[0, 0], expected)


class WrongUnit(Instance):
    """A perturbation whose length is not γ."""

    def unit(self, theta):
        return super().unit(theta) * (1 + theta.sum() ** 2 / 50)


@pytest.mark.parametrize("seed", range(4))
def test_a_perturbation_off_its_sphere_is_noticed(seed):
    drawn = instance(seed)
    wrong = WrongUnit(**{name: getattr(drawn, name) for name in drawn.__dataclass_fields__})
    assert check(wrong).outcome is Outcome.FAILS


@pytest.mark.parametrize("theta, label", [([0.0, 0.0], 1.0), ([1.0, 1.0], 2.0)])
def test_no_gradient_and_no_weights_decide_nothing(theta, label):
    drawn = made([[1.0, 1.0]], [label], theta, logistic=False)
    verdict = check(drawn)
    assert verdict.outcome is Outcome.UNDECIDED and "every metric sees" in verdict.missing


@pytest.mark.parametrize(
    "parts, options, cause",
    [
        (([[1.0]], [1.0], [1.0, 2.0]), {}, r"need n ≥ 1, labels \(1,\) and theta \(1,\)"),
        (([[1.0]], [1.0, 1.0], [1.0]), {}, r"labels \(1,\)"),
        ((np.empty((0, 1)), [], [1.0]), {}, "n ≥ 1"),
        (([[1.0]], [1.0], [1.0]), {"hidden": 2}, r"theta \(4,\)"),
        (([[np.nan]], [1.0], [1.0]), {}, "pass finite inputs"),
        (([[1.0]], [1.0], [1.0]), {"damping": 0.0}, "pass a finite number > 0"),
        (([[1.0]], [1.0], [1.0]), {"damping": float("nan")}, "pass a finite number > 0"),
    ],
)
def test_bad_input_names_cause_and_cure(parts, options, cause):
    with pytest.raises(ValueError, match=cause):
        made(*parts, **options)
