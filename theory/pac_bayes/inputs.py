"""What the steps of the proof assume of their numbers, checked; each error names cause and cure."""

import math

import numpy as np

Vector = tuple[float, ...]
Matrix = tuple[Vector, ...]

SINGULAR = 1e-12  # smallest over largest eigenvalue, below which float64 cannot tell a matrix from a singular one


def count(name: str, value: int, least: int = 1) -> int:
    """An integer of at least ``least``."""
    if not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} = {value} is not a count; pass an integer of at least {least}.")
    return int(value)


def positive(name: str, value: float) -> float:
    """A finite number above zero."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} = {value} is not positive and finite, and it divides or is a length; pass such a number.")
    return value


def chance(name: str, value: float) -> float:
    """A probability that decides something."""
    if not 0 < value < 1:
        raise ValueError(f"{name} = {value} lies outside (0, 1), where the statement is empty or infinite; pass one inside.")
    return value


def finite(name: str, values: Vector) -> np.ndarray:
    """A vector of finite numbers."""
    vector = np.array(values, dtype=float)
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise ValueError(f"{name} = {values} is not a vector of finite numbers; pass one.")
    return vector


def definite(name: str, matrix: Matrix) -> np.ndarray:
    """A symmetric positive definite matrix, to float64's resolution."""
    values = np.array(matrix, dtype=float)
    square = values.ndim == 2 and values.shape[0] == values.shape[1] > 0
    if not square or not np.isfinite(values).all() or abs(values - values.T).max() > SINGULAR * abs(values).max():
        raise ValueError(f"{name} is not a symmetric matrix of finite numbers; pass a square, symmetric one.")
    eigenvalues = np.linalg.eigvalsh(values)
    if not eigenvalues[0] > SINGULAR * eigenvalues[-1]:
        raise ValueError(
            f"{name} is singular: its eigenvalues go from {eigenvalues[0]:.3g} to {eigenvalues[-1]:.3g}, and its inverse is "
            "needed. Damp it, F + λI, or remove the directions that the model does not see."
        )
    return values


def rows(matrix: np.ndarray) -> Matrix:
    """An array as nested tuples: instances are compared and stored."""
    return tuple(tuple(float(x) for x in row) for row in matrix)


def random_definite(rng: np.random.Generator, size: int, spread: float = 1.0) -> np.ndarray:
    """Eigenvalues e^N(0, spread²) in a random orthogonal frame."""
    frame, _ = np.linalg.qr(rng.normal(size=(size, size)))
    matrix = (frame * np.exp(spread * rng.normal(size=size))) @ frame.T
    return (matrix + matrix.T) / 2
