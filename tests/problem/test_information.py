"""The Fisher information of every distribution of torch.distributions, against the scores of samples, or refused by name."""

import pytest
import torch
from torch import distributions as td
from torch import nn

import geosam
from geosam import metrics
from geosam.metrics import Euclidean, Exact, Fisher, MonteCarlo
from geosam.observation import PredictiveDistribution
from geosam.problem.information import check_scores, information
from tests.fishers import closeness, flat
from tests.networks import build, draw, labels

FLOAT64 = torch.float64
Z = draw(2, 3, dtype=FLOAT64) / 2


def a(z):
    return z[..., 0]


def b(z):
    return z[..., 1].exp()


def matrix(z):
    return torch.diag_embed(z.exp()) + 0.2


KNOWN = {
    "Bernoulli": lambda z: td.Bernoulli(logits=z),
    "Beta": lambda z: td.Beta(b(z), z[..., 2].exp()),
    "Binomial": lambda z: td.Binomial(7, logits=z),
    "Categorical": lambda z: td.Categorical(logits=z),
    "Cauchy": lambda z: td.Cauchy(a(z), b(z)),
    "Chi2": lambda z: td.Chi2(z.exp()),
    "ContinuousBernoulli": lambda z: td.ContinuousBernoulli(logits=z),
    "Dirichlet": lambda z: td.Dirichlet(z.exp()),
    "Exponential": lambda z: td.Exponential(z.exp()),
    "Gamma": lambda z: td.Gamma(z[..., 2].exp(), b(z)),
    "Geometric": lambda z: td.Geometric(logits=z),
    "Gumbel": lambda z: td.Gumbel(a(z), b(z)),
    "HalfCauchy": lambda z: td.HalfCauchy(z.exp()),
    "HalfNormal": lambda z: td.HalfNormal(z.exp()),
    "Independent": lambda z: td.Independent(td.Normal(z, 2.0), 1),
    "Independent Laplace": lambda z: td.Independent(td.Laplace(z, 0.3), 1),
    "InverseGamma": lambda z: td.InverseGamma(b(z) + 1, z[..., 2].exp()),
    "Laplace": lambda z: td.Laplace(a(z), b(z)),
    "LogNormal": lambda z: td.LogNormal(a(z), b(z)),
    "LogisticNormal": lambda z: td.LogisticNormal(z, torch.ones_like(z)),
    "LowRankMultivariateNormal": lambda z: td.LowRankMultivariateNormal(z, torch.ones(3, 1, dtype=FLOAT64), z.exp()),
    "MultivariateNormal": lambda z: td.MultivariateNormal(z, matrix(z)),
    "Normal": lambda z: td.Normal(a(z), b(z)),
    "OneHotCategorical": lambda z: td.OneHotCategorical(logits=z),
    "Pareto": lambda z: td.Pareto(torch.tensor(0.5, dtype=FLOAT64), z.exp()),
    "Poisson": lambda z: td.Poisson(z.exp()),
    "TransformedDistribution": lambda z: td.TransformedDistribution(td.Laplace(a(z), b(z)), [td.ExpTransform()]),
    "Wishart": lambda z: td.Wishart(torch.tensor(4.0, dtype=FLOAT64), covariance_matrix=matrix(z)),
}

REFUSED = {
    "GeneralizedPareto": lambda z: td.GeneralizedPareto(a(z), b(z), z[..., 2].exp()),
    "FisherSnedecor": lambda z: td.FisherSnedecor(b(z), z[..., 2].exp()),
    "Kumaraswamy": lambda z: td.Kumaraswamy(b(z), z[..., 2].exp()),
    "MixtureSameFamily": lambda z: td.MixtureSameFamily(td.Categorical(logits=z), td.Normal(z, 1.0)),
    "Multinomial": lambda z: td.Multinomial(3, logits=z),
    "NegativeBinomial": lambda z: td.NegativeBinomial(3, logits=z),
    "Pareto, scale": lambda z: td.Pareto(z.exp(), 2.0),
    "RelaxedBernoulli": lambda z: td.RelaxedBernoulli(torch.tensor(0.5), logits=z),
    "RelaxedOneHotCategorical": lambda z: td.RelaxedOneHotCategorical(torch.tensor(0.5), logits=z),
    "StudentT": lambda z: td.StudentT(b(z), a(z)),
    "TransformedDistribution, by z": lambda z: td.TransformedDistribution(td.Normal(0.0, 1.0), [td.AffineTransform(z, 1.0)]),
    "Uniform": lambda z: td.Uniform(z, z + 1),
    "VonMises": lambda z: td.VonMises(a(z), b(z)),
    "Weibull": lambda z: td.Weibull(b(z), z[..., 2].exp()),
}

for newer in ("GeneralizedPareto", "InverseGamma"):
    if not hasattr(td, newer):
        KNOWN.pop(newer, None), REFUSED.pop(newer, None)

WITHOUT_PARAMETERS_OF_ITS_OWN = {"Distribution", "ExponentialFamily", "LKJCholesky", "OneHotCategoricalStraightThrough"}


def dense(product):
    return torch.stack([product(e.reshape(Z.shape)).flatten() for e in torch.eye(Z.numel(), dtype=FLOAT64)])


def test_the_tables_are_complete():
    names = {k for k, v in vars(td).items() if isinstance(v, type) and issubclass(v, td.Distribution)}
    assert names <= {name.split(",")[0] for name in (*KNOWN, *REFUSED)} | WITHOUT_PARAMETERS_OF_ITS_OWN


@pytest.mark.filterwarnings("ignore:Singular sample")
@pytest.mark.parametrize("name", KNOWN)
def test_exact_is_the_covariance_of_the_scores(name):
    make, draws = KNOWN[name], 10_000
    places = make(Z).batch_shape.numel()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        z = Z.expand(draws, *Z.shape).clone().requires_grad_()
        labels = make(Z).sample((draws,))
    (scores,) = torch.autograd.grad(make(z).log_prob(labels).sum(), z)
    scores = scores.flatten(1)
    # scores of different distributions are independent: their sum has the sum of their informations
    blocks = torch.block_diag(*torch.ones(len(Z), Z.shape[1], Z.shape[1], dtype=FLOAT64))
    expected = blocks * (scores.T @ scores) / draws / places
    assert closeness(dense(information(make, Z)), expected) < 0.1
    u = Exact().cotangents(make, Z).flatten(2)
    roots = torch.block_diag(*torch.einsum("kni,knj->nij", u, u)) / u.shape[0] / len(Z)
    assert closeness(roots, dense(information(make, Z))) < 1e-9


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_information_in_closed_form_is_refused_by_name(name):
    with pytest.raises(TypeError, match=r"Use |use a likelihood") as raised:
        information(REFUSED[name], Z)
    assert type(REFUSED[name](Z)).__name__ in str(raised.value)


def test_a_support_that_moves_is_refused_for_samples_too():
    with pytest.raises(TypeError, match="support of Uniform depends"):
        MonteCarlo(1).cotangents(REFUSED["Uniform"], Z)


@pytest.mark.filterwarnings("ignore:Singular sample")
@pytest.mark.parametrize("name", KNOWN)
def test_scores_are_the_derivatives_of_the_density(name):
    before = torch.get_rng_state()
    check_scores(KNOWN[name], Z)
    assert torch.equal(torch.get_rng_state(), before)


DETACHED = {
    "mean": lambda z: td.Normal(z[..., 0].detach(), z[..., 1].exp()),
    "half of it": lambda z: td.Normal(z[..., 0] + z[..., 0].detach(), 1.0),
    "all": lambda z: td.Poisson(z.detach().exp()),
    "by numpy": lambda z: td.Normal(z[..., 0] + torch.from_numpy(z[..., 1].detach().numpy()), 1.0),
}


@pytest.mark.parametrize("name", DETACHED)
def test_scores_that_lack_what_a_likelihood_detaches_are_refused(name):
    model, x = build(lambda: nn.Linear(4, 2), dtype=FLOAT64), draw(6, 4, dtype=FLOAT64)
    bound = geosam.Problem(model, lambda z, y: z.square().mean(), DETACHED[name]).on(x, labels(6))
    sampling = MonteCarlo(1)
    each = [metrics.Fisher(sampling=sampling), metrics.DiagonalFisher(sampling=sampling)]
    each += [metrics.Fisher(sampling=sampling, rows_limit=0), metrics.KroneckerFisher(0.1, sampling=sampling)]
    for metric in each:
        with pytest.raises(TypeError, match="the likelihood detaches outputs"):
            metric.at(bound)


def test_a_distribution_that_does_not_depend_on_the_outputs_tells_nothing():
    assert not dense(information(lambda z: td.Normal(torch.zeros_like(z), 1.0), Z)).any()


def test_laplace_regression_has_one_fisher_in_rows_products_and_compare():
    model, x, y = build(lambda: nn.Linear(4, 2), dtype=FLOAT64), draw(6, 4, dtype=FLOAT64), draw(6, 2, dtype=FLOAT64)
    bound = geosam.Problem(model, nn.L1Loss(), lambda z: td.Laplace(z, 0.5)).on(x, y)
    v = [draw(*p.shape, seed=3, dtype=FLOAT64) for p in model.parameters()]
    along = x @ v[0].T + v[1]
    expected = flat([along.T @ x, along.sum(0)]) * 4 / along.numel()
    for metric in (Fisher(0.0, rows_limit=0), Fisher(0.0)):
        predictive = geosam.observe(bound, (PredictiveDistribution(),))[PredictiveDistribution()]
        found = predictive.fisher(v) if metric.rows_limit == 0 else metric.at(bound).flat(v)
        assert closeness(flat(found), expected) < 1e-12
    assert 0 < geosam.compare(bound, [Euclidean()], rho=1e-3).rows[0].efficiency <= 1


def test_a_masked_class_gives_no_nan():
    z = Z.clone()
    z[:, 2] = -torch.inf
    found = dense(information(geosam.problem.likelihoods.categorical, z))
    p = z.softmax(1)
    expected = torch.block_diag(*(torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1))) / len(z)
    torch.testing.assert_close(found, expected)
