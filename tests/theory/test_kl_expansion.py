"""F2. KL = ½ εᵀFε + O(‖ε‖³), and not εᵀFε."""

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.theory.models import distribution, models, plain_models
from tests.theory.smallest import assert_hypothesis_finds
from theory import jensen_shannon, radii
from theory.kl_expansion import CLAIMS, Gaussian, Instance, Softmax, check, instance
from theory.verdict import Outcome

DECIDE = [check, radii.check, jensen_shannon.check]  # all three expand along ε with ‖ε‖_F = 1


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_kl_is_half_the_fisher_quadratic_form_to_third_order_and_not_all_of_it(seed):
    drawn = instance(seed)
    verdict = check(drawn)
    # Along a direction that F hardly sees the third derivative is so large that at 2⁻¹² neither coefficient is excluded.
    assume("both survive" not in verdict.missing)
    assert verdict.outcome is Outcome.CORRECTED and verdict.worst_error <= 1
    assert "1.0 t²" in verdict.counterexample
    assert check(drawn, altered=True).outcome is Outcome.FAILS


@settings(deadline=None, max_examples=50)
@given(models())
def test_no_model_refutes_the_half_and_none_supports_its_absence(drawn):
    assert check(drawn).outcome in (Outcome.CORRECTED, Outcome.UNDECIDED)
    assert check(drawn, altered=True).outcome in (Outcome.FAILS, Outcome.UNDECIDED)


def test_the_stored_counterexample_is_the_smallest_that_hypothesis_finds():
    assert_hypothesis_finds(CLAIMS["F2"], plain_models(), examples=500)


@pytest.mark.parametrize("check", DECIDE)
def test_a_direction_that_the_model_does_not_feel_decides_nothing(check):
    drawn = Instance(Softmax, torch.ones(2, 1).double(), torch.tensor([0.3, -0.5, 1.0]).double(), torch.ones(3).double())
    verdict = check(drawn)
    assert verdict.outcome is Outcome.UNDECIDED and "a direction that F sees" in verdict.missing


@pytest.mark.parametrize("check", DECIDE)
@pytest.mark.parametrize("mean, log_std", [(1000.0, -5.0), (1e3, 0.0), (1.0, -40.0), (1e17, 0.0), (10.0, -20.0)])
def test_a_mean_of_many_deviations_decides_nothing(check, mean, log_std):
    theta, direction = torch.tensor([[mean, log_std], [1.0, 0.0]]).double()
    verdict = check(Instance(Gaussian, torch.ones(1, 1).double(), theta, direction))
    assert verdict.outcome is Outcome.UNDECIDED and "lost in rounding" in verdict.missing


def test_a_fisher_matrix_that_rounding_has_emptied_is_an_error():
    def at(mean):
        theta = torch.tensor([mean, 0.0]).double()
        return Instance(Gaussian, torch.ones(1, 1).double(), theta, torch.ones(2).double())

    with pytest.raises(ValueError, match="lost its row of F to rounding; pass a smaller mean, or a larger σ"):
        at(1e17).fisher()
    torch.testing.assert_close(at(1e3).fisher(), torch.diag(torch.tensor([1.0, 2.0]).double()))


def test_a_model_whose_scale_overflows_decides_nothing():
    theta, direction = torch.tensor([[0.03, 0, 0, 0, 0, 0], [1, 1, 0, 1, 1, 1]]).double()
    verdict = check(Instance(Softmax, torch.full((1, 1), 0.01).double(), theta, direction, hidden=2))
    assert verdict.outcome is Outcome.UNDECIDED and "does not overflow" in verdict.missing


@pytest.mark.parametrize("seed", range(6))
def test_the_fisher_agrees_with_the_closed_form_in_output_space(seed):
    drawn = instance(seed)
    outputs = drawn.outputs(drawn.theta)
    jacobian = torch.func.jacrev(drawn.outputs)(drawn.theta)
    if drawn.family is Softmax:
        probs = outputs.softmax(1)
        inner = torch.diag_embed(probs) - probs[:, :, None] * probs[:, None, :]
    else:
        inner = torch.diag_embed(torch.stack([(-2 * outputs[:, 1]).exp(), torch.full((len(outputs),), 2.0).double()], 1))
    expected = torch.einsum("nap,nab,nbq->pq", jacobian, inner, jacobian) / len(outputs)
    torch.testing.assert_close(drawn.fisher(), expected)


@pytest.mark.parametrize("seed", range(6))
def test_the_divergence_agrees_with_torch(seed):
    drawn = instance(seed)
    old, new = drawn.outputs(drawn.theta), drawn.outputs(drawn.theta + drawn.direction)
    p, q = (distribution(drawn.family, outputs) for outputs in (old, new))
    torch.testing.assert_close(drawn.kl(drawn.direction), torch.distributions.kl_divergence(q, p).mean())


class WithFisher(Instance):
    """An instance with a wrong Fisher matrix."""

    def fisher(self):
        return 0.97 * super().fisher()


@pytest.mark.parametrize("seed", range(6))
def test_a_fisher_wrong_by_three_percent_is_noticed(seed):
    drawn = instance(seed)
    wrong = WithFisher(**{name: getattr(drawn, name) for name in drawn.__dataclass_fields__})
    assert check(wrong).outcome is Outcome.FAILS


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_length_of_the_direction_does_not_matter(scale):
    drawn = instance(0)
    verdict = check(replace(drawn, direction=scale * drawn.direction))
    assert verdict.outcome is Outcome.CORRECTED
    assert verdict.worst_error == pytest.approx(check(drawn).worst_error, rel=1e-3)
