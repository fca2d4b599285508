"""Each geometry's ε* against its dense matrix, its sphere and its dual norm."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.invariance import geometries
from theory.invariance.cells import GEOMETRIES, Tangent
from theory.invariance.geometries import DAMPING, RHO
from theory.invariance.table import instance

SEEDS = st.integers(0, 2**32 - 1)


TANGENTS = {key: geometry for key, geometry in GEOMETRIES.items() if isinstance(geometry, Tangent)}
DENSE = {
    "euclidean": lambda s: np.eye(s.theta.size),
    "parameter_scaled": lambda s: np.diag(s.theta**-2.0),
    "parameter_scaled_eta": lambda s: np.diag((abs(s.theta) + 0.1) ** -2),
    "gradient_magnitude": lambda s: np.diag(s.gradient**2),
    "gradient_magnitude_damped": lambda s: np.diag(s.gradient**2) + np.eye(s.theta.size),
    "diagonal_empirical": lambda s: np.diag((s.rows**2).mean(0)),
    "diagonal_empirical_damped": lambda s: np.diag((s.rows**2).mean(0) + DAMPING),
    "diagonal_fisher": lambda s: np.diag((s.white**2).sum(0)) / len(s.targets),
    "empirical_fisher": lambda s: s.rows.T @ s.rows / len(s.targets),
    "empirical_fisher_damped": lambda s: s.rows.T @ s.rows / len(s.targets) + DAMPING * np.eye(s.theta.size),
    "fisher": lambda s: s.white.T @ s.white / len(s.targets),
    "fisher_damped": lambda s: s.white.T @ s.white / len(s.targets) + DAMPING * np.eye(s.theta.size),
    "monge": lambda s: np.eye(s.theta.size) + np.outer(s.gradient, s.gradient),
}


@settings(deadline=None)
@given(SEEDS)
def test_every_inner_product_has_the_epsilon_of_its_dense_matrix(seed):
    for case in instance(seed).cases:
        for key, dense in DENSE.items():
            if case.kind.symmetry and key in ("empirical_fisher", "fisher"):
                continue  # no inverse
            matrix, found = dense(case.old), TANGENTS[key].step(case.old)
            if not (np.isfinite(found.condition) and np.linalg.cond(matrix) < 1e8):
                continue  # a unit that no sample wakes
            sharp = np.linalg.solve(matrix, case.old.gradient)
            expected = RHO * sharp / np.sqrt(case.old.gradient @ sharp)
            assert np.allclose(found.epsilon, expected, rtol=1e-6, atol=1e-6 * abs(expected).max()), key


@settings(deadline=None)
@given(SEEDS)
def test_singular_fisher_matrices_are_inverted_as_by_vanishing_damping(seed):
    for case in instance(seed).cases:
        for key in ("empirical_fisher", "fisher"):
            found, limit = getattr(geometries, key)(case.old), getattr(geometries, key)(case.old, damping=1e-9)
            if found.condition < 1e4:
                assert np.allclose(found.epsilon, limit.epsilon, rtol=1e-3, atol=1e-3 * abs(found.epsilon).max())
                assert found.kernel >= case.kernel


@settings(deadline=None)
@given(SEEDS)
def test_norms_without_inner_product_are_on_their_spheres_and_reach_their_dual_norms(seed):
    for case in instance(seed).cases:
        side = case.old
        ends = np.cumsum([int(np.prod(shape)) for shape in case.shapes])[:-1]

        def matrices(v, ends=ends, shapes=case.shapes):
            return [part.reshape(shape[0], -1) for part, shape in zip(np.split(v, ends), shapes, strict=True)]

        sup, spectral = (TANGENTS[key].step(side).epsilon for key in ("sup", "spectral"))
        assert np.isclose(abs(sup).max(), RHO) and np.isclose(side.gradient @ sup, RHO * abs(side.gradient).sum())
        assert np.isclose(max(np.linalg.norm(part, 2) for part in matrices(spectral)), RHO)
        nuclear = sum(np.linalg.norm(part, "nuc") for part in matrices(side.gradient))
        assert np.isclose(side.gradient @ spectral, RHO * nuclear)


@settings(deadline=None)
@given(SEEDS)
def test_the_ray_meets_the_sphere_and_no_shorter_step_does(seed):
    for case in instance(seed).cases:
        found, along = geometries.kl_ray(case.old), geometries.fisher(case.old)
        if np.isfinite(found.condition):
            assert np.isclose(case.old.kl(case.theta + found.epsilon), RHO**2 / 2, rtol=1e-10)
            assert np.isclose(found.epsilon @ along.epsilon, np.linalg.norm(found.epsilon) * np.linalg.norm(along.epsilon))
            shorter = case.theta + np.linspace(0, 0.999, 200)[:, None] * found.epsilon
            assert (case.old.kl(shorter) < RHO**2 / 2).all()
