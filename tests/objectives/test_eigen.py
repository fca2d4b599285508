"""Eigen-SAM's covector: its formula against dense Hessians in float64, its memory, and its place on the sphere."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import geosam
from geosam import metrics
from geosam.objectives import Eigen, Gradient
from geosam.observation import HessianProducts
from geosam.testing import check_objective
from tests.networks import build, draw, labels, mlp, same

FLOAT64 = torch.float64


def bind(seed=0, dtype=FLOAT64):
    model = build(mlp, seed=seed, dtype=dtype)
    return geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(12, 4, seed=seed, dtype=dtype), labels(12, seed=seed))


def flat(v):
    return torch.cat([t.detach().double().reshape(-1) for t in v])


def dense_hessian(bound):
    product = geosam.observe(bound, (HessianProducts(),))[HessianProducts()]
    like = list(bound.parameters)
    eye = torch.eye(sum(p.numel() for p in like), dtype=FLOAT64)
    return torch.stack([flat(product(geosam.core.vectors.unflatten(e, like))) for e in eye])


@pytest.mark.parametrize("objective", [Eigen(0.0), Eigen(5.0, every=1, iterations=2)], ids=repr)
def test_the_laws_of_objectives_at_other_settings(objective):
    check_objective(objective, examples=3)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_covector_is_that_of_the_eigenvector_of_largest_magnitude(seed):
    bound, alpha = bind(seed), 0.7
    values, vectors = torch.linalg.eigh(dense_hessian(bound))
    top = vectors[:, values.abs().argmax()]
    g = flat(geosam.observe(bound).gradient)
    unit = g / g.norm()
    want = unit + alpha * math.copysign(1.0, g @ top) * (top - (top @ unit) * unit)
    found = flat(Eigen(alpha, iterations=400).at(bound))
    torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-6)


@given(alpha=st.floats(0.0, 10.0), seed=st.integers(0, 20), iterations=st.integers(1, 6))
def test_what_it_ascends_rises_as_fast_as_the_gradient_does(alpha, seed, iterations):
    """⟨ĝ, c⟩ = 1 and ‖c‖² = 1 + α²‖v⊥‖² ≤ 1 + α², and ε* lies on the sphere, not at length ρ‖c‖ as in the paper."""
    bound = bind(seed)
    seen = geosam.observe(bound, Eigen().needs)
    c = Eigen(alpha, iterations=iterations).at(seen)
    g = flat(seen.gradient)
    assert flat(c) @ g / g.norm() == pytest.approx(1.0, rel=1e-9)
    assert 1 - 1e-9 <= flat(c).norm() <= math.sqrt(1 + alpha**2) * (1 + 1e-9)
    epsilon = flat(geosam.solve(metrics.Euclidean().at(seen), c, 0.1).epsilon)
    assert epsilon.norm() == pytest.approx(0.1, rel=1e-9)


def test_without_alpha_it_is_the_gradient_s_direction():
    bound = bind()
    plain, turned = (
        geosam.solve(metrics.Euclidean().at(bound), objective.at(bound), 0.1).epsilon for objective in (Gradient(), Eigen(0.0))
    )
    torch.testing.assert_close(turned, plain)


def test_curvature_along_epsilon_grows_with_alpha():
    bound, matrix = bind(), dense_hessian(bind())
    along = []
    for alpha in (0.0, 0.5, 5.0):
        c = flat(Eigen(alpha, iterations=200).at(bound))
        along.append(abs(float(c @ matrix @ c / (c @ c))))
    assert along == sorted(along) and along[-1] > 1.5 * along[0]


def test_the_vector_is_estimated_every_so_many_steps_and_goes_on_from_the_last():
    """Products are counted: ``iterations`` of them in steps 0, 3, 6, none in between; the direction is kept meanwhile."""
    bound, state, calls, kept = bind(), {}, [], []
    objective = Eigen(every=3, iterations=2)
    for _ in range(7):
        seen = geosam.observe(bound, objective.needs)
        hessian, count = seen[HessianProducts()], len(calls)

        def counted(v, hessian=hessian):
            calls.append(1)
            return hessian(v)

        seen = geosam.Observation(seen.parameters, seen.gradient, seen.loss, None, {HessianProducts(): counted})
        _, state = objective.step(seen, state)  # type: ignore[assignment]
        kept.append((len(calls) - count, flat(state["vector"])))
    assert [taken for taken, _ in kept] == [2, 0, 0, 2, 0, 0, 2]
    assert torch.equal(kept[1][1], kept[2][1]) and not torch.equal(kept[2][1], kept[3][1])
    matrix = dense_hessian(bound)
    quotients = [abs(float(v @ matrix @ v)) for _, v in kept[::3]]
    assert quotients == sorted(quotients)  # power steps on one matrix, each from the last


def test_its_memory_is_saved_and_loaded(tmp_path):
    def optimizer(bound):
        base = torch.optim.SGD(bound.model.named_parameters(), lr=0.05)
        return geosam.SAM(base, rho=0.1, objective=Eigen(every=2, iterations=3))

    whole, parted = bind(), bind()
    one, two = optimizer(whole), optimizer(parted)
    for _ in range(3):
        one.step(whole), two.step(parted)
    torch.save(two.state_dict(), tmp_path / "state.pt")
    resumed = optimizer(parted)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for _ in range(3):
        one.step(whole), resumed.step(parted)
    assert same(list(whole.model.parameters()), list(parted.model.parameters()))


def test_a_gradient_of_zero_and_one_that_is_not_finite():
    bound = bind()
    seen = geosam.observe(bound, Eigen().needs)
    for value, finite in ((0.0, True), (math.nan, False)):
        g = [torch.full_like(t, value) for t in seen.gradient]
        c, state = Eigen().step(geosam.Observation(seen.parameters, g, seen.loss, None, seen.found), {})
        found = geosam.solve(metrics.Euclidean().at(seen), c, 0.1)
        assert bool(found.finite) is finite and not any(e.any() for e in found.epsilon)
        assert all(t.isfinite().all() for t in state["vector"])


def test_a_first_estimate_that_is_not_finite_leaves_the_gradient_and_is_repeated():
    bound, objective = bind(), Eigen(every=1)
    seen = geosam.observe(bound, objective.needs)
    broken = {HessianProducts(): lambda v: [torch.full_like(t, math.nan) for t in v]}
    g = flat(seen.gradient)
    c, state = objective.step(geosam.Observation(seen.parameters, seen.gradient, seen.loss, None, broken), {})
    torch.testing.assert_close(flat(c), g / g.norm())
    _, after = objective.step(seen, state)
    torch.testing.assert_close(flat(after["vector"]), flat(objective.step(seen, {})[1]["vector"]))


@pytest.mark.parametrize("arguments", [{"alpha": -1.0}, {"alpha": math.nan}, {"every": 0}, {"iterations": 2.5}])
def test_bad_settings(arguments):
    with pytest.raises(ValueError, match="must be"):
        Eigen(**arguments)


def test_a_closure_has_no_curvature():
    bound = bind()
    opt = geosam.SAM(torch.optim.SGD(bound.model.parameters(), lr=0.1), objective=Eigen())
    with pytest.raises(TypeError, match=r"needs Hessian-vector products.*Pass problem\.on\(x, y\)"):
        opt.step(lambda: bound())
