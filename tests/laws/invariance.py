"""One table: under which maps does ε* transform as a tangent vector, ε_θ(f(φ)) = Df(φ) ε_φ(φ)?

A model that computes θ = f(φ) inside is a problem like any other, so that both sides come from the library as it is.
YES: for every map of the kind. NO: not even for the stored one. IMAGE: F is singular there, and only what ε* does to the
outputs, Jε*, is determined; that transforms, and ε* itself does not.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

import geosam
from geosam import metrics
from geosam.metrics import Relative
from geosam.solvers import Radial

YES, NO, IMAGE = "yes", "no", "image"
RHO = 0.5


def everywhere(name, parameter):
    return True


@dataclass(frozen=True)
class Row:
    """A geometry and its four cells, in the order of MAPS. singular: its stand-in on ReLU nets, whose rescalings leave F no
    inverse. share: of the profile's examples, where one is slow."""

    name: str
    metric: object
    cells: tuple
    singular: object = None
    share: float = 1.0

    def on(self, kind):
        return self.singular if self.singular is not None and kind.net is relu_net else self.metric


EMPIRICAL, FISHER = metrics.EmpiricalFisher, metrics.Fisher
EXACT = {"tolerance": 1e-13, "iterations": 400}

#       geometry                                                     rotation diagonal smooth node-wise
TABLE = [
    Row("Euclidean", metrics.Euclidean(), (YES, NO, NO, NO)),
    Row("EmpiricalFisher, damped", EMPIRICAL(0.1), (YES, NO, NO, NO)),
    Row("EmpiricalFisher, relatively damped", EMPIRICAL(Relative(0.1)), (YES, NO, NO, NO)),
    Row("Fisher, damped", FISHER(0.1, **EXACT), (YES, NO, NO, NO), share=0.4),
    Row("Monge", metrics.Monge(), (YES, NO, NO, NO)),
    Row("EmpiricalFisher, undamped", EMPIRICAL(0.0), (YES, YES, YES, IMAGE), EMPIRICAL(1e-9)),
    Row("Fisher, undamped", FISHER(0.0, **EXACT), (YES, YES, YES, IMAGE), FISHER(1e-9, **EXACT), 0.4),
    Row("DiagonalEmpiricalFisher, undamped", metrics.DiagonalEmpiricalFisher(0.0), (NO, YES, NO, YES)),
    Row("DiagonalEmpiricalFisher, damped", metrics.DiagonalEmpiricalFisher(0.1), (NO, NO, NO, NO)),
    Row("GradientMagnitude, undamped", metrics.GradientMagnitude(1.0, 0.0), (NO, YES, NO, YES)),
    Row("GradientMagnitude, as published", metrics.GradientMagnitude(1.0, 1.0), (NO, NO, NO, NO)),
    Row("ParameterScaled, η = 0, everywhere", metrics.ParameterScaled(0.0, everywhere), (NO, YES, NO, YES)),
    Row("ParameterScaled, η = 0, not biases", metrics.ParameterScaled(0.0), (NO, NO, NO, NO)),
    Row("ParameterScaled", metrics.ParameterScaled(), (NO, NO, NO, NO)),
    Row(
        "KLExact, on the ray of Fisher, undamped",
        metrics.KLExact(FISHER(0.0, **EXACT)),
        (YES, YES, NO, NO),  # a finite step along a null direction of F moves the outputs, and D sees that
        metrics.KLExact(FISHER(1e-9, **EXACT)),
        0.4,
    ),
]


def tanh_net():
    return nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)).double()


def relu_net():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double()


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


@dataclass(frozen=True)
class Map:
    """A kind of map: how many numbers make one, for which net, and the point and the numbers of the counterexample."""

    name: str
    build: Callable
    net: Callable
    count: int
    phi: tuple
    numbers: tuple


_TANH = (0.7, -0.4, 0.3, 0.9, 0.2, -0.5, 1.1, -0.8, 0.25)
_RELU = (0.7, -0.4, 0.3, 0.9, -0.6, 0.5, 0.2, 0.4, 0.3, 1.1, -0.8, 0.6, 0.25)
_TENTHS = tuple(round(((7 * i + 3) % 19 - 9) / 10, 1) for i in range(81))
MAPS = [
    Map("rotation", rotation, tanh_net, 36, _TANH, _TENTHS[:36]),
    Map("diagonal", diagonal, tanh_net, 9, _TANH, _TENTHS[:9]),
    Map("smooth", smooth, tanh_net, 81, _TANH, _TENTHS),
    Map("node-wise", node_wise, relu_net, 3, _RELU, (0.9, -0.7, 0.4)),
]

# generic inputs, and targets that no net here fits
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


def perturbation(metric, model):
    bound = geosam.Problem(model, nn.MSELoss()).on(X, Y)
    evidence = bound.collect(metric.needs, type(metric).__name__)
    solver = Radial(1e-12, 60) if isinstance(metric, metrics.KLExact) else None
    epsilon = geosam.solve(metric.at(evidence), evidence.gradient, RHO, solver).epsilon
    return torch.cat([t.detach().reshape(-1) for t in epsilon])


def gap(metric, kind, phi, numbers):
    """Both sides at one point, for one map."""
    net, size = kind.net(), len(phi)
    f = kind.build(numbers, size)
    inner = Reparametrised(net, f, phi)
    theta = f(phi)
    outer = Reparametrised(net, lambda t: t, theta)
    pushed = derivative(f, phi) @ perturbation(metric, inner)
    direct = perturbation(metric, outer)
    through = derivative(lambda t: outer.outputs(t, X)[:, 0], theta)
    moved, whole = through @ (direct - pushed), through @ direct
    return Gap(float((direct - pushed).norm() / direct.norm()), float(moved.norm() / whole.norm()))


def derivative(f, at):
    return torch.func.jacrev(f)(at)


def conditions(kind, phi, numbers):
    """How far this point is from a singular Fisher matrix, and from a gradient or a residual with a zero in it."""
    theta = kind.build(numbers, len(phi))(phi)
    model = Reparametrised(kind.net(), lambda t: t, theta)
    jacobian = derivative(lambda t: model.outputs(t, X)[:, 0], theta)
    residual = model.outputs(theta, X) - Y
    singular, rows = torch.linalg.svdvals(jacobian), jacobian * residual
    least = min(float(rows.mean(0).abs().min() / rows.mean(0).abs().max()), float(residual.abs().min()))
    return float(singular[-1] / singular[0]), least
