"""The columns of the table: kinds of map θ = f(φ), each with a model small enough to differentiate without a formula.

A reparametrisation makes a new model, φ ↦ outputs(f(φ)). A symmetry keeps the model, and moves its parameters to where it
is the same function: outputs(f(φ)) = outputs(φ).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from theory.invariance.sides import Array, Side, jacobian

Map = Callable[[Array, Array], Array]
"""A model, (θ, inputs) to outputs, or a map, (φ, numbers) to θ."""


def unit(theta: Array, inputs: Array) -> Array:
    """Outputs m = tanh(w·x + b): one unit, whose Fisher matrix is regular for inputs in general position."""
    return np.tanh(theta[..., :-1] @ inputs.T + theta[..., -1:])


def rescalable(theta: Array, inputs: Array) -> Array:
    """Outputs m = v·relu(Wx + b) + a."""
    d = inputs.shape[1]
    hidden = (theta.shape[-1] - 1) // (d + 2)
    weight = theta[..., : hidden * d].reshape(*theta.shape[:-1], hidden, d)
    bias, out = theta[..., hidden * d : -1 - hidden], theta[..., -1 - hidden : -1]
    before = weight @ inputs.T + bias[..., None]
    return np.einsum("...h,...hn->...n", out, before * (before.real > 0)) + theta[..., -1:]


def normalised(theta: Array, inputs: Array) -> Array:
    """Outputs m = v·tanh(BatchNorm(Wx)) + a, with the batch's own mean and variance."""
    d = inputs.shape[1]
    hidden = (theta.shape[-1] - 1) // (d + 1)
    before = theta[..., : hidden * d].reshape(*theta.shape[:-1], hidden, d) @ inputs.T
    centred = before - before.mean(-1, keepdims=True)
    after = np.tanh(centred / np.sqrt((centred**2).mean(-1, keepdims=True)))
    return np.einsum("...h,...hn->...n", theta[..., -1 - hidden : -1], after) + theta[..., -1:]


def gaussian(theta: Array, inputs: Array) -> Array:
    """θ = (μ, σ): m = μ and s = log σ at every sample, one after the other."""
    one = np.ones(len(inputs))
    return np.concatenate([theta[..., :1] * one, np.log(theta[..., 1:]) * one], -1)


def rotation(phi: Array, numbers: Array) -> Array:
    """Qφ, Q orthogonal by Cayley's transform of the skew matrix with these numbers above its diagonal."""
    p = phi.shape[-1]
    skew = np.zeros((p, p))
    skew[np.triu_indices(p, 1)] = numbers
    skew -= skew.T
    return phi @ np.linalg.solve(np.eye(p) + skew, np.eye(p) - skew).T


def diagonal(phi: Array, numbers: Array) -> Array:
    """θₖ = sₖφₖ."""
    return phi * numbers


def node_wise(phi: Array, numbers: Array) -> Array:
    """A hidden unit's weights and bias times s > 0, its outgoing weight divided by s."""
    hidden, d = len(numbers), (phi.shape[-1] - 1) // len(numbers) - 2
    return phi * np.concatenate([np.repeat(numbers, d), numbers, 1 / numbers, np.ones(1)]).reshape(hidden * (d + 2) + 1)


def batch_norm(phi: Array, numbers: Array) -> Array:
    """A unit's weights before BatchNorm times s > 0."""
    d = (phi.shape[-1] - 1) // len(numbers) - 1
    return phi * np.concatenate([np.repeat(numbers, d), np.ones(len(numbers) + 1)])


def smooth(phi: Array, numbers: Array) -> Array:
    """φ + ½ sin(Mφ)/max(‖M‖, 1): invertible, because its derivative is within ½ of the identity."""
    matrix = numbers.reshape(phi.shape[-1], -1)
    return phi + 0.5 * np.sin(phi @ matrix.T) / max(np.linalg.norm(matrix, 2), 1.0)


def log_sigma(phi: Array, numbers: Array) -> Array:
    """From φ = (μ, log σ)."""
    return np.stack([phi[..., 0], np.exp(phi[..., 1])], -1)


def natural(phi: Array, numbers: Array) -> Array:
    """From φ = (μ/σ², −1/(2σ²))."""
    variance = -0.5 / phi[..., 1]
    return np.stack([phi[..., 0] * variance, np.sqrt(variance)], -1)


def mean(phi: Array, numbers: Array) -> Array:
    """From φ = (E y, E y²) = (μ, μ² + σ²)."""
    return np.stack([phi[..., 0], np.sqrt(phi[..., 1] - phi[..., 0] ** 2)], -1)


@dataclass(frozen=True)
class Kind:
    """A column. sizes(p): how many numbers make a map of p parameters, None for as many as there are hidden units."""

    back: Map
    model: Map
    symmetry: bool = False
    sizes: Callable[[int], int] | None = lambda p: 0


KINDS = {
    "rotation": Kind(rotation, unit, sizes=lambda p: p * (p - 1) // 2),
    "diagonal": Kind(diagonal, unit, sizes=lambda p: p),
    "node-wise": Kind(node_wise, rescalable, symmetry=True, sizes=None),
    "BatchNorm": Kind(batch_norm, normalised, symmetry=True, sizes=None),
    "smooth": Kind(smooth, unit, sizes=lambda p: p * p),
    "log σ": Kind(log_sigma, gaussian),
    "natural": Kind(natural, gaussian),
    "mean": Kind(mean, gaussian),
}


@dataclass(frozen=True)
class Case:
    """A model and a map. column: its kind; inputs: (n, d); targets: (n,); phi: (p,); numbers: those of the map."""

    column: str
    inputs: Array
    targets: Array
    phi: Array
    numbers: Array

    def __post_init__(self) -> None:
        if self.column not in KINDS:
            raise ValueError(f"'{self.column}' is not a column of the table; choose one of {', '.join(KINDS)}.")
        if len(self.inputs) != len(self.targets) or not len(self.targets):
            raise ValueError(f"{len(self.inputs)} inputs for {len(self.targets)} targets; pass as many of both, one at least.")
        self._fits()
        for name in ("inputs", "targets", "phi", "numbers"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} has an entry that is not finite; pass numbers.")
        if self.kind.back is diagonal and not self.numbers.all():
            raise ValueError("A scale of 0 has no inverse; pass scales that are not zero.")
        if self.kind.symmetry and not (self.numbers > 0).all():
            raise ValueError("A unit's scale must be positive to leave the network the same function; pass scales > 0.")
        if self.kind.model is gaussian and not self.theta[1] > 0:  # NaN where the chart does not reach
            raise ValueError(f"No σ > 0 belongs to {self.phi}; pass η₂ < 0, or E y² > (E y)².")

    def _fits(self) -> None:
        p, d = len(self.phi), self.inputs.shape[1]
        least: dict[Map, int] = {rescalable: 2, normalised: 1}
        if self.kind.model is gaussian:
            fits = p == 2 and d == 0
        elif self.kind.symmetry:
            fits = len(self.numbers) > 0 and p == len(self.numbers) * (d + least[self.kind.model]) + 1
        else:
            fits = p == d + 1
        if not fits:
            raise ValueError(f"{p} parameters do not make a model of {d} inputs in column '{self.column}'; see its model.")
        if self.kind.sizes and len(self.numbers) != self.kind.sizes(p):
            raise ValueError(f"{len(self.numbers)} numbers do not make a map here; pass {self.kind.sizes(p)}.")

    @property
    def kind(self) -> Kind:
        return KINDS[self.column]

    def back(self, phi: Array) -> Array:
        """θ = f(φ)."""
        return self.kind.back(phi, self.numbers)

    @cached_property
    def theta(self) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.back(self.phi)

    @property
    def kernel(self) -> int:
        """The dimension of ker F where samples and parameters are in general position: one for each unit's scale."""
        return len(self.numbers) if self.kind.symmetry else 0

    @cached_property
    def derivative(self) -> Array:
        """B = ∂θ/∂φ at φ."""
        return jacobian(self.back, self.phi).T

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """As PyTorch has them: weights are matrices, biases and the Gaussian's two numbers are not."""
        d, hidden = self.inputs.shape[1], len(self.numbers)
        if self.kind.model is rescalable:
            return (hidden, d), (hidden,), (1, hidden), (1,)
        if self.kind.model is normalised:
            return (hidden, d), (1, hidden), (1,)
        return ((1, d), (1,)) if self.kind.model is unit else ((1,), (1,))

    def model(self, theta: Array) -> Array:
        return self.kind.model(theta, self.inputs)

    @cached_property
    def old(self) -> Side:
        """The model at θ = f(φ)."""
        return Side(self.model, self.theta, self.targets, self.shapes)

    @cached_property
    def new(self) -> Side:
        """The model at φ: the same one if the map is its symmetry, and outputs(f(φ)) otherwise."""
        outputs = self.model if self.kind.symmetry else lambda phi: self.model(self.back(phi))
        return Side(outputs, self.phi, self.targets, self.shapes)
