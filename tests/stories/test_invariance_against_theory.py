"""geosam's own metrics give theory's answer in every cell of the invariance table that they can be asked.

A model that computes θ = f(φ) inside is a problem like any other, so that both sides come from the library as it is: torch
nets of tanh, of relu, with BatchNorm in training mode, and a Gaussian of two parameters. A "no" is shown at a stored point,
everything else also at drawn points and maps. What is expected stands in ``theory.invariance.table`` alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import assume, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Normal

import geosam
from geosam import metrics, norms
from geosam.metrics import Relative
from geosam.solvers import Radial
from geosam.testing.check import examine
from geosam.testing.strategies.vectors import ticks
from theory.invariance.cells import NO, OUTPUTS, YES
from theory.invariance.table import COLUMNS, TABLE

RHO = 0.5
EXACT = 1e-6
IN_THE_LIMIT = 1e-4  # where F is singular its stand-in is damped by 1e-9
FAR = 3e-4


def everywhere(name, parameter):
    return True


@dataclass(frozen=True)
class Row:
    """A geometry and theory's name for it. singular: its stand-in where a symmetry leaves F no inverse. couples: whether
    it can be asked where BatchNorm couples the samples. share: of the profile's examples, where one is slow."""

    key: str
    geometry: object
    singular: object = None
    couples: bool = True
    share: float = 1.0

    def on(self, kind):
        return self.singular if self.singular is not None and kind.symmetry else self.geometry


EMPIRICAL, FISHER = metrics.EmpiricalFisher, metrics.Fisher
TIGHT = {"tolerance": 1e-13, "iterations": 400}
LIMIT = 1e-9

ROWS = [
    Row("euclidean", metrics.Euclidean()),
    Row("parameter_scaled", metrics.ParameterScaled(0.0, everywhere)),
    Row("parameter_scaled_weights", metrics.ParameterScaled(0.0)),
    Row("parameter_scaled_eta", metrics.ParameterScaled(0.1, everywhere)),
    Row("parameter_scaled_eta", metrics.ParameterScaled()),
    Row("gradient_magnitude", metrics.GradientMagnitude(1.0, 0.0)),
    Row("gradient_magnitude_damped", metrics.GradientMagnitude(1.0, 1.0)),
    Row("diagonal_empirical", metrics.DiagonalEmpiricalFisher(0.0), couples=False),
    Row("diagonal_empirical_damped", metrics.DiagonalEmpiricalFisher(0.1), couples=False),
    Row("empirical_fisher", EMPIRICAL(0.0), EMPIRICAL(LIMIT), couples=False),
    Row("empirical_fisher_damped", EMPIRICAL(0.1), couples=False),
    Row("empirical_fisher_relative", EMPIRICAL(Relative(0.1)), couples=False),
    Row("fisher", FISHER(0.0, **TIGHT), FISHER(LIMIT, **TIGHT), share=0.4),
    Row("fisher_damped", FISHER(0.1, **TIGHT), share=0.4),
    Row("monge", metrics.Monge()),
    Row("sup", norms.Sup()),
    Row("spectral", norms.Spectral()),
    Row("kl_ray", metrics.KLExact(FISHER(0.0, **TIGHT)), metrics.KLExact(FISHER(LIMIT, **TIGHT)), share=0.4),
]
ABSENT = {"diagonal_fisher", "kl_argmax", "kl_argmax_linearised"}  # theory's alone


def tanh_net():
    return nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)).double()


def relu_net():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double()


def normalised_net():
    norm = nn.BatchNorm1d(2, eps=1e-30, affine=False, track_running_stats=False)
    return nn.Sequential(nn.Linear(2, 2, bias=False), norm, nn.Tanh(), nn.Linear(2, 1)).double()


class Gaussian(nn.Module):
    """(μ, σ) at every sample, whatever x is."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def forward(self, x):
        return self.theta.expand(len(x), 2)


def normal(outputs):
    return Normal(outputs[:, 0], outputs[:, 1], validate_args=False)


def gaussian_loss(outputs, y):
    return -normal(outputs).log_prob(y[:, 0]).mean()


def rotation(numbers, size):
    """θ = Qφ with Q orthogonal, by Cayley's transform of a skew matrix."""
    skew = torch.zeros(size, size, dtype=torch.float64)
    skew[tuple(torch.triu_indices(size, size, 1))] = numbers
    skew = skew - skew.T
    eye = torch.eye(size, dtype=torch.float64)
    q = torch.linalg.solve(eye + skew, eye - skew)
    return lambda phi: q @ phi


def diagonal(numbers, size):
    """θᵢ = sᵢφᵢ, sᵢ from ¼ to 4, with either sign."""
    scales = 4.0**numbers * torch.tensor([1.0, -1.0, 1.0]).repeat(size)[:size]
    return lambda phi: scales * phi


def smooth(numbers, size):
    """θ = φ + ½ sin(Bφ)/‖B‖: invertible, because its derivative is within ½ of the identity."""
    matrix = numbers.reshape(size, size)
    matrix = matrix / torch.linalg.matrix_norm(matrix, 2).clamp_min(0.1)
    return lambda phi: phi + 0.5 * torch.sin(matrix @ phi)


def node_wise(numbers, size):
    """A hidden unit's weights and bias times s > 0, its outgoing weights divided by s: the ReLU net stays what it is."""
    s = 4.0**numbers
    scales = torch.cat([s.repeat_interleave(2), s, 1 / s, torch.ones(1, dtype=torch.float64)])
    return lambda phi: scales * phi


def batch_norm(numbers, size):
    """A unit's weights before BatchNorm times s > 0."""
    scales = torch.cat([(4.0**numbers).repeat_interleave(2), torch.ones(size - 2 * len(numbers), dtype=torch.float64)])
    return lambda phi: scales * phi


def log_sigma(numbers, size):
    return lambda phi: torch.stack([phi[0], phi[1].exp()])


def natural(numbers, size):
    return lambda phi: torch.stack([-phi[0] / phi[1] / 2, (-2 * phi[1]) ** -0.5])


def mean(numbers, size):
    return lambda phi: torch.stack([phi[0], (phi[1] - phi[0].square()).sqrt()])


@dataclass(frozen=True)
class Map:
    """A kind of map: its column in theory, how many numbers make one, for which net, and the stored point and numbers."""

    column: str
    build: Callable
    net: Callable
    count: int
    phi: tuple
    numbers: tuple

    @property
    def symmetry(self):
        return self.column in ("node-wise", "BatchNorm")

    @property
    def couples(self):
        return self.net is normalised_net


_TANH = (0.7, -0.4, 0.3, 0.9, 0.2, -0.5, 1.1, -0.8, 0.25)
_RELU = (0.7, -0.4, 0.3, 0.9, -0.6, 0.5, 0.2, 0.4, 0.3, 1.1, -0.8, 0.6, 0.25)
_NORMALISED = (0.7, -0.4, 0.3, 0.9, 1.1, -0.8, 0.25)
_TENTHS = tuple(round(((7 * i + 3) % 19 - 9) / 10, 1) for i in range(81))
MAPS = [
    Map("rotation", rotation, tanh_net, 36, _TANH, _TENTHS[:36]),
    Map("diagonal", diagonal, tanh_net, 9, _TANH, _TENTHS[:9]),
    Map("node-wise", node_wise, relu_net, 3, _RELU, (0.9, -0.7, 0.4)),
    Map("BatchNorm", batch_norm, normalised_net, 2, _NORMALISED, (0.9, -0.7)),
    Map("smooth", smooth, tanh_net, 81, _TANH, _TENTHS),
    Map("log σ", log_sigma, Gaussian, 0, (0.6, 0.9), ()),
    Map("natural", natural, Gaussian, 0, (0.6, -0.4), ()),
    Map("mean", mean, Gaussian, 0, (0.6, 1.4), ()),
]

# generic inputs, and targets that no model here fits
X = torch.tensor([[((11 * i + 5 * j) % 23 - 11) / 7 + 0.013 * i for j in range(2)] for i in range(20)], dtype=torch.float64)
Y = torch.sin(3 * X[:, :1]) + X[:, 1:].square() + 0.5


class Reparametrised(nn.Module):
    """The net at θ = f(φ); its parameters are φ, cut as θ is."""

    def __init__(self, net, f, phi):
        super().__init__()
        self.f = f
        self.names = [name for name, _ in net.named_parameters()]
        self.sizes = [p.numel() for p in net.parameters()]
        self.shapes = [p.shape for p in net.parameters()]
        self.phi = nn.ParameterList(part.reshape(s) for part, s in zip(phi.split(self.sizes), self.shapes, strict=True))
        self.norms = nn.ModuleList(m for m in net.modules() if isinstance(m, nn.BatchNorm1d))  # so that the library sees them
        object.__setattr__(self, "net", net)  # not a submodule: its own parameters are not this model's

    def forward(self, x):
        return self.outputs(torch.cat([p.reshape(-1) for p in self.phi]), x)

    def outputs(self, phi, x):
        parts = self.f(phi).split(self.sizes)
        theta = {n: p.reshape(s) for n, p, s in zip(self.names, parts, self.shapes, strict=True)}
        return torch.func.functional_call(self.net, theta, (x,))


@dataclass(frozen=True)
class Gap:
    """How far ε* is from a tangent vector: as it is, and in what it does to the outputs; relative."""

    tangent: float
    image: float

    def says(self, singular):
        """What this gap says about a cell; None where it is neither rounding nor clearly there."""
        if self.tangent <= (IN_THE_LIMIT if singular else EXACT):
            return YES
        if self.tangent < FAR:
            return None
        return OUTPUTS if self.image <= IN_THE_LIMIT else NO if self.image >= FAR else None


def problem(model):
    gaussian = isinstance(model.net, Gaussian)
    return geosam.Problem(model, gaussian_loss if gaussian else nn.MSELoss(), normal if gaussian else None).on(X, Y)


def perturbation(geometry, model):
    bound, norm = problem(model), isinstance(geometry, geosam.Norm)
    needs = metrics.Euclidean().needs if norm else geometry.needs
    seen = geosam.observe(bound, needs, type(geometry).__name__)
    solver = Radial(1e-12, 60) if isinstance(geometry, metrics.KLExact) else None
    epsilon = geosam.solve(geometry if norm else geometry.at(seen), seen.gradient, RHO, solver).epsilon
    return torch.cat([t.detach().reshape(-1) for t in epsilon])


def gap(geometry, kind, phi, numbers):
    """Both sides at one point, for one map."""
    net, size = kind.net(), len(phi)
    f = kind.build(numbers, size)
    inner, theta = Reparametrised(net, f, phi), f(phi)
    outer = Reparametrised(net, lambda t: t, theta)
    pushed = derivative(f, phi) @ perturbation(geometry, inner)
    direct = perturbation(geometry, outer)
    through = derivative(lambda t: outer.outputs(t, X).reshape(-1), theta)
    moved, whole = through @ (direct - pushed), through @ direct
    return Gap(float((direct - pushed).norm() / direct.norm()), float(moved.norm() / whole.norm()))


def derivative(f, at):
    return torch.func.jacrev(f)(at)


def conditions(kind, phi, numbers):
    """How far this point is from a singular Fisher matrix, and from a zero in the gradient or in a sample's residual."""
    theta = kind.build(numbers, len(phi))(phi)
    model = Reparametrised(kind.net(), lambda t: t, theta)
    jacobian = derivative(lambda t: model.outputs(t, X).reshape(-1), theta)
    singular = torch.linalg.svdvals(jacobian)
    gradient = derivative(lambda t: problem(model).loss(model.outputs(t, X), Y), theta).abs()
    residual = torch.ones(1) if kind.net is Gaussian else model.outputs(theta, X) - Y
    return float(singular[-1] / singular[0]), min(float(gradient.min() / gradient.max()), float(residual.abs().min()))


def left_by_damping(kind, phi, numbers):
    """How far the stand-in for a singular F may be from its limit: 2λ/μ, μ the least eigenvalue of either side but for zeros.

    (F + λ)⁻¹ differs from F⁺ by λ/μ on the range of F, and μ is as small as a drawn point makes it. Rounding adds 2e-5.
    """
    f, total = kind.build(numbers, len(phi)), 0.0
    for model, at in ((Reparametrised(kind.net(), f, phi), phi), (Reparametrised(kind.net(), lambda t: t, f(phi)), f(phi))):
        jacobian = derivative(lambda t, m=model: m.outputs(t, X).reshape(-1), at)
        residual = (model.outputs(at, X) - Y).detach()
        for rows in (2**0.5 * jacobian, 2 * residual * jacobian):  # of the true Fisher, and of the empirical one
            singular = torch.linalg.svdvals(rows)
            total = max(total, 2 * LIMIT * len(X) / float(singular[singular > 1e-11 * singular[0]][-1]) ** 2)
    return total


def numbers(values):
    return torch.tensor(values, dtype=torch.float64)


CELLS = [(row, kind, TABLE[row.key].answers[kind.column]) for row in ROWS for kind in MAPS if row.couples or not kind.couples]


def named(value):
    return getattr(value, "key", getattr(value, "column", value))


def test_every_cell_is_asked_but_those_of_what_is_not_here():
    assert [kind.column for kind in MAPS] == list(COLUMNS)
    assert {row.key for row in ROWS} == set(TABLE) - ABSENT


@pytest.mark.parametrize("row, kind", [cell[:2] for cell in CELLS if cell[2] == NO], ids=named)
def test_at_the_stored_point_it_does_not_transform(row, kind):
    found = gap(row.on(kind), kind, numbers(kind.phi), numbers(kind.numbers))
    assert found.says(row.singular is not None and kind.symmetry) == NO, found


@pytest.mark.parametrize("row, kind, answer", [cell for cell in CELLS if cell[2] != NO], ids=named)
def test_it_transforms_at_the_stored_point_at_every_other_and_under_every_map_of_the_kind(row, kind, answer):
    limit = row.singular is not None and kind.symmetry
    stored = gap(row.on(kind), kind, numbers(kind.phi), numbers(kind.numbers))
    assert stored.says(limit) == answer, stored

    def trial(drawn):
        shift, chosen = drawn
        if not shift.any() and not chosen.any():
            return  # Hypothesis' first case, no map at the stored point
        phi = numbers(kind.phi) + 0.2 * torch.as_tensor(shift)
        regular, least = conditions(kind, phi, torch.as_tensor(chosen))
        assume(least > 1e-4 and (regular > 1e-4 or kind.symmetry))
        assume(not limit or left_by_damping(kind, phi, torch.as_tensor(chosen)) < IN_THE_LIMIT / 3)
        found = gap(row.on(kind), kind, phi, torch.as_tensor(chosen))
        assert found.image <= IN_THE_LIMIT if answer == OUTPUTS or limit else found.tangent <= EXACT, found

    many = max(2, math.ceil(row.share * settings().max_examples / 2))
    examine(st.tuples(ticks(len(kind.phi)), ticks(kind.count)), trial, many)


@pytest.mark.parametrize("row", [row for row in ROWS if not row.couples], ids=named)
def test_samples_that_batch_norm_couples_have_no_gradients_of_their_own(row):
    kind = next(kind for kind in MAPS if kind.couples)
    with pytest.raises((TypeError, ValueError), match="BatchNorm"):
        gap(row.on(kind), kind, numbers(kind.phi), numbers(kind.numbers))


def test_every_stored_point_is_regular_but_for_the_symmetries():
    for kind in MAPS:
        regular, least = conditions(kind, numbers(kind.phi), numbers(kind.numbers))
        assert least > 1e-4
        assert (regular < 1e-12) if kind.symmetry else (regular > 5e-5)
