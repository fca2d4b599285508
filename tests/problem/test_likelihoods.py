"""The distribution that a loss names, and the mean KL between two of them."""

import math
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    Categorical,
    ExponentialFamily,
    Independent,
    Laplace,
    MultivariateNormal,
    Normal,
    Poisson,
    constraints,
)
from torch.nn import functional as F

import geosam
from geosam.metrics import GradientMagnitude, KLExact
from geosam.observation import PredictiveDistribution
from geosam.problem.likelihoods import bernoulli, categorical, divergence, gaussian, mean_kl, of_loss
from tests.networks import build, draw, labels, mlp

WIDE = dict(dtype=torch.float64)


def logits(*shape: int, seed: int = 0) -> Tensor:
    return draw(*shape, seed=seed, dtype=torch.float64)


@pytest.mark.parametrize(
    "loss, likelihood, targets",
    [
        (nn.CrossEntropyLoss(), categorical, labels(5)),
        (nn.BCEWithLogitsLoss(), bernoulli, (logits(5, 3, seed=7) > 0).double()),
        (nn.MSELoss(), gaussian, logits(5, 3, seed=8)),
    ],
    ids=["categorical", "bernoulli", "gaussian"],
)
def test_the_loss_is_the_mean_negative_log_likelihood_up_to_a_constant(loss, likelihood, targets):
    def rise(z: Tensor) -> Tensor:
        return loss(z, targets) + likelihood(z).log_prob(targets).mean()

    assert of_loss(loss) is likelihood
    torch.testing.assert_close(rise(logits(5, 3, seed=1)), rise(logits(5, 3, seed=2)))


def test_nll_of_log_probabilities_is_categorical():
    z = logits(4, 3)
    likelihood: Any = of_loss(nn.NLLLoss())
    torch.testing.assert_close(likelihood(z.log_softmax(1)).probs, z.softmax(1))


@pytest.mark.parametrize("loss", [nn.L1Loss(), nn.HuberLoss(), F.cross_entropy, lambda z, y: z.mean()])
def test_a_loss_that_names_no_distribution(loss):
    assert of_loss(loss) is None


def test_functional_losses_name_theirs_through_the_problem():
    assert geosam.Problem(build(mlp), F.cross_entropy).likelihood is categorical
    assert geosam.Problem(build(mlp), F.mse_loss).likelihood is gaussian


def test_kl_of_classes_by_hand():
    p, q = torch.tensor([[0.5, 0.25, 0.25], [1 / 3] * 3], **WIDE), torch.tensor([[0.1, 0.6, 0.3], [0.2, 0.2, 0.6]], **WIDE)
    by_hand = sum(a * math.log(a / b) for a, b in zip(p.flatten().tolist(), q.flatten().tolist(), strict=True)) / 2
    assert mean_kl(categorical(p.log()), categorical(q.log())).item() == pytest.approx(by_hand, rel=1e-12)


def test_kl_of_squared_error_is_the_mean_squared_difference():
    f, h = logits(4, 3), logits(4, 3, seed=5)
    torch.testing.assert_close(mean_kl(gaussian(f), gaussian(h)), (f - h).square().mean())


def test_every_pixel_is_a_distribution():
    new, old = logits(2, 3, 4, 5), logits(2, 3, 4, 5, seed=1)
    flat = [z.movedim(1, -1).reshape(-1, 3) for z in (new, old)]
    assert categorical(new).batch_shape == (2, 4, 5)
    torch.testing.assert_close(mean_kl(categorical(new), categorical(old)), mean_kl(*map(categorical, flat)))


def test_a_logit_of_minus_infinity_gives_no_nan():
    masked = torch.tensor([[0.3, -0.2, -math.inf]], **WIDE)
    moved = torch.tensor([[0.1, 0.4, -math.inf]], **WIDE)
    assert mean_kl(categorical(moved), categorical(masked)) > 0


def test_the_users_own_likelihood_is_used():
    def correlated(z: Tensor) -> MultivariateNormal:
        return MultivariateNormal(z, torch.eye(z.shape[-1], dtype=z.dtype) * 4)

    problem = geosam.Problem(build(mlp), nn.MSELoss(), likelihood=correlated)
    seen = geosam.observe(problem.on(draw(5, 4), draw(5, 3)), KLExact(along=GradientMagnitude()).needs)
    epsilon = [0.01 * torch.ones_like(p) for p in seen.parameters]
    moved = seen[PredictiveDistribution()].outputs_at(epsilon).double() - seen[PredictiveDistribution()].outputs.double()
    torch.testing.assert_close(seen[PredictiveDistribution()].kl(epsilon), moved.square().sum(1).mean() / 8)


def test_no_kl_in_torch_is_an_error_with_a_cure():
    with pytest.raises(TypeError, match="register_kl"):
        mean_kl(Laplace(logits(3), torch.ones(3)), Independent(Normal(logits(3), 1.0), 1))


def test_categorical_is_torchs_own():
    z = logits(5, 3)
    found = categorical(z)
    assert isinstance(found, Categorical)
    torch.testing.assert_close(found.logits, Categorical(logits=z).logits)


def test_a_coin_that_is_sure_of_itself_has_a_finite_kl():
    confident = torch.tensor([[37.0, 40.0, -60.0]], dtype=torch.float64)
    moved = confident + torch.tensor([[-7.0, 0.0, 20.0]], dtype=torch.float64)
    kl = mean_kl(bernoulli(moved), bernoulli(confident)).item()
    p, q = torch.sigmoid(moved), torch.sigmoid(confident)
    small = torch.sigmoid(-moved) * (F.logsigmoid(-moved) - F.logsigmoid(-confident))
    assert math.isfinite(kl) and kl == pytest.approx(
        (p * (F.logsigmoid(moved) - F.logsigmoid(confident)) + small).mean().item(), rel=1e-6
    )
    assert q.max() == 1.0  # where torch's own Bernoulli is infinite


class Doubled(Normal):
    """Another density than its base's, whose KL torch would take."""

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value) - math.log(2.0)


class Renamed(Normal):
    """The same density in other words."""

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_subclass_with_a_density_of_its_own_has_not_its_base_s_kl(wrapped):
    def pair(kind: type[Normal]) -> Any:
        found = [kind(logits(5, 3, seed=s), torch.ones(5, 3, **WIDE)) for s in (0, 1)]
        return [Independent(p, 1) for p in found] if wrapped else found

    state = torch.get_rng_state()
    with pytest.raises(TypeError, match=r"KL of Normal for Doubled.*register_kl\(Doubled, Doubled\)"):
        mean_kl(*pair(Doubled))
    torch.testing.assert_close(mean_kl(*pair(Renamed)), mean_kl(*pair(Normal)))
    assert torch.equal(state, torch.get_rng_state())


class Rates(torch.distributions.ExponentialFamily):
    """Exponential, known by its natural parameter only."""

    arg_constraints: ClassVar[Any] = {}

    def __init__(self, rate: Tensor) -> None:
        self.rate = rate
        super().__init__(rate.shape)

    @property
    def _natural_params(self) -> Any:
        return (-self.rate,)

    def _log_normalizer(self, x: Tensor) -> Tensor:
        return -torch.log(-x)


def test_a_kl_that_differentiates_inside_does_so_where_no_gradients_are_wanted():
    one, other = logits(5).exp(), logits(5, seed=1).exp()
    with torch.no_grad():
        found = mean_kl(Rates(one), Rates(other))
    assert not found.requires_grad
    torch.testing.assert_close(found, mean_kl(*map(torch.distributions.Exponential, (one, other))))


class OwnPoisson(ExponentialFamily):
    """An exponential family that torch knows nothing of but its normaliser."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.nonnegative_integer

    def __init__(self, rate: Tensor) -> None:
        self.rate = rate
        super().__init__(rate.shape, validate_args=False)

    @property
    def _natural_params(self) -> tuple[Tensor]:
        return (self.rate.log(),)

    def _log_normalizer(self, eta: Tensor) -> Tensor:  # type: ignore[override]
        return eta.exp()


@pytest.mark.parametrize("events", [0, 1], ids=["alone", "Independent"])
def test_kl_of_an_exponential_family_is_a_function_of_both_arguments(events):
    def found(kind: Any, graded: bool) -> list[Tensor]:
        z, moved = logits(4, 2), (logits(4, 2) + logits(4, 2, seed=1)).requires_grad_(graded)
        kl = divergence(*(Independent(kind(t.exp()), events) if events else kind(t.exp()) for t in (moved, z)))
        return [kl, *torch.autograd.grad(kl.sum(), moved)] if graded else [kl]

    for graded in (True, False):
        torch.testing.assert_close(found(OwnPoisson, graded), found(Poisson, graded))
