"""Laws of objectives over a run of gradients, at every scale: each with an objective that breaks it."""

import copy
import io
import math
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import geosam
from geosam import metrics, norms, objectives
from geosam.core import vectors as vec
from geosam.metrics import Relative
from geosam.objectives import Gradient, NoiseWeighted, Preconditioned, Residual, Smoothed
from geosam.testing import strategies
from tests.laws.metric_cases import label
from tests.objectives.runs import flat, run, same_tensors, seen

SCALES = {torch.float32: (-25, 18), torch.float64: (-40, 40)}


@st.composite
def runs(draw, dtypes=(torch.float64, torch.float32), widest=None):
    """Two to five gradients of about one scale, from 1e-25 to 1e18 in float32."""
    like = draw(strategies.spaces(dtypes))
    least, most = widest or SCALES[like[0].dtype]
    k = draw(st.integers(least, most))
    return [draw(strategies.vectors(like, k, k)) for _ in range(draw(st.integers(2, 5)))]


def smoothed(decay):
    def oracle(gs):
        d = gs[0]
        for g in gs[1:]:
            d = d + (1 - decay) * (g - d)  # exact where the gradient repeats
        return d

    return oracle


def residual(sigma, decay):
    def oracle(gs):
        return gs[0] if len(gs) == 1 else gs[-1] - sigma * smoothed(decay)(gs)

    return oracle


def noise_weighted(decay, exponent, relative, absolute=0.0):
    def oracle(gs):
        b = ((smoothed(decay)(gs) - gs[-1]) ** 2) ** exponent
        damping = absolute + relative * b.mean()
        return gs[-1] * (b.min() + damping) / (b + damping) if b.any() else gs[-1]

    return oracle


def doubled_first(c):
    """D: the first tensor counts twice."""
    return [2 * c[0], *c[1:]]


def of_doubled_first(oracle):
    def whole(gs, like):
        c = oracle(gs)
        return torch.cat([2 * c[: like[0].numel()], c[like[0].numel() :]])

    return whole


CASES = [
    (Gradient(), lambda gs: gs[-1]),
    (Smoothed(0.9), smoothed(0.9)),
    (Residual(), residual(1.0, 0.9)),
    (Residual(0.5, 0.6), residual(0.5, 0.6)),
    (Residual(0.0), lambda gs: gs[-1]),
    (NoiseWeighted(), noise_weighted(0.9, 1.0, 0.1)),
    (NoiseWeighted(0.5, 0.5, Relative(0.01)), noise_weighted(0.5, 0.5, 0.01)),
    (NoiseWeighted(0.5, 0.0), lambda gs: gs[-1]),
]
FREE_OF_SCALE = [
    *(objective for objective, _ in CASES),
    Preconditioned(doubled_first, Smoothed(0.5)),
    Preconditioned(metrics.Euclidean(), Residual()),
]
ALL = [*FREE_OF_SCALE, NoiseWeighted(0.9, 1.0, 1e-3), Preconditioned(metrics.GradientMagnitude(), Smoothed(0.5))]
BY_REPR = {"ids": label}


def matches_its_recursion(objective, oracle, gradients):
    """c is what the recursion gives in float64, to the rounding of the gradients."""
    got, want = flat(run(objective, gradients)[0]), oracle([flat(g) for g in gradients])
    eps = torch.finfo(gradients[0][0].dtype).eps
    size = max(float(want.norm()), float(flat(gradients[-1]).norm()))
    assert float((got - want).norm()) <= 2e3 * eps * size, (got, want)


def ignores_the_scale_of_the_loss(objective, gradients):
    """Gradients s times as large give s times the covector."""
    got, want = flat(run(objective, gradients, 2.0**10)[0]), flat(run(objective, gradients)[0]) * 2.0**10
    assert float((got - want).norm()) <= 1e-4 * float(want.norm()), (got, want)


def keeps_what_is_not_finite_out_of_its_memory(objective, gradients, value):
    """A gradient with NaN or infinity leaves the state as it was, and its own covector is selected away by the solver."""
    _, before = run(objective, gradients)
    bad = [t.clone() for t in gradients[0]]
    bad[-1].reshape(-1)[-1] = value
    c, after = objective.step(seen(bad), before)
    assert same_tensors(after, before)
    assert not geosam.solve(norms.Identity(), c, 1.0).finite


def survives_a_file(objective, gradients):
    """All memory is in the state: saved, loaded and continued by another object, the run is the same bit for bit."""
    fresh = copy.deepcopy(objective)
    _, state = run(objective, gradients[:-1])
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    resumed = fresh.step(seen(gradients[-1]), torch.load(buffer, weights_only=True))[0]
    c, _ = objective.step(seen(gradients[-1]), state)
    assert same_tensors(list(c), list(resumed))


def ascends_whatever_the_scale(objective, gradients):
    """From finite gradients comes a finite covector, also where entries repeat or vanish."""
    repeated = [*gradients, gradients[-1], [torch.zeros_like(t) for t in gradients[-1]], gradients[-1]]
    for k in range(1, len(repeated) + 1):
        assert all(bool(t.isfinite().all()) for t in run(objective, repeated[:k])[0])


@pytest.mark.parametrize("objective, oracle", CASES, ids=[label(objective) for objective, _ in CASES])
@given(gradients=runs())
@settings(deadline=None)
def test_it_is_its_recursion(objective, oracle, gradients):
    matches_its_recursion(objective, oracle, gradients)


@given(gradients=runs(widest=(-3, 3)))
@settings(deadline=None)
def test_absolute_damping_is_in_units_of_the_noise(gradients):
    matches_its_recursion(NoiseWeighted(0.9, 1.0, 0.5), noise_weighted(0.9, 1.0, 0.0, 0.5), gradients)


@given(gradients=runs())
@settings(deadline=None)
def test_a_precondition_is_applied_to_another_objective_s_covector(gradients):
    like = gradients[0]

    def oracle(gs):
        return of_doubled_first(residual(1.0, 0.9))(gs, like)

    matches_its_recursion(Preconditioned(doubled_first, Residual()), oracle, gradients)


@pytest.mark.parametrize("objective", FREE_OF_SCALE, **BY_REPR)
@given(gradients=runs(widest=(-20, 14)))
@settings(deadline=None)
def test_the_scale_of_the_loss_is_ignored(objective, gradients):
    ignores_the_scale_of_the_loss(objective, gradients)


@pytest.mark.parametrize("objective", ALL, **BY_REPR)
@given(gradients=runs(), value=st.sampled_from([math.nan, math.inf, -math.inf]))
@settings(deadline=None)
def test_what_is_not_finite_stays_out_of_the_memory(objective, gradients, value):
    keeps_what_is_not_finite_out_of_its_memory(objective, gradients, value)


@pytest.mark.parametrize("objective", ALL, **BY_REPR)
@given(gradients=runs())
@settings(deadline=None)
def test_the_memory_survives_a_file(objective, gradients):
    survives_a_file(objective, gradients)


@pytest.mark.parametrize("objective", ALL, **BY_REPR)
@given(gradients=runs())
@settings(deadline=None)
def test_the_covector_is_finite(objective, gradients):
    ascends_whatever_the_scale(objective, gradients)


@pytest.mark.parametrize("objective", ALL, **BY_REPR)
def test_the_host_reads_nothing(objective):
    """On a device without numbers any reading raises."""
    g = [torch.ones(2, 3, device="meta"), torch.ones(2, device="meta")]
    c, _ = run(objective, [g, g, g])
    assert [t.shape for t in c] == [t.shape for t in g]


@dataclass(frozen=True)
class AveragesEverything(geosam.Objective):
    """Wrong: a NaN stays for good."""

    def local(self, seen):
        return seen.gradient

    def step(self, seen, state):
        last = state.get("average", seen.gradient)
        average = vec.lerp(last, seen.gradient, 0.1)
        return average, {"average": average}


@dataclass(frozen=True)
class Undamped(geosam.Objective):
    """Wrong: infoSAM's draft, g/(m − g)²."""

    def local(self, seen):
        return seen.gradient

    def step(self, seen, state):
        last = state.get("average", seen.gradient)
        average = vec.lerp(last, seen.gradient, 0.1)
        return [g / (m - g) ** 2 for g, m in zip(seen.gradient, average, strict=True)], {"average": average}


@dataclass(frozen=True)
class Hidden(geosam.Objective):
    """Wrong: the memory is the object's."""

    seen: list = field(default_factory=list, repr=False)

    def local(self, seen):
        return seen.gradient

    def step(self, seen, state):
        self.seen.append(seen.gradient)
        return vec.lerp(self.seen[0], seen.gradient, 0.5), state


def wrong_sign(gradients):
    matches_its_recursion(Residual(0.5), residual(-0.5, 0.9), gradients)


def wrong_order(gradients):
    """The average of before is subtracted, with the σ of an average that is updated first."""
    matches_its_recursion(Residual(0.5), lambda gs: gs[-1] - 0.5 * smoothed(0.9)(gs[:-1]), gradients)


def wrong_exponent(gradients):
    matches_its_recursion(NoiseWeighted(), noise_weighted(0.9, 0.5, 0.1), gradients)


WRONG = {
    "σ of the other sign": wrong_sign,
    "subtracted before it is updated": wrong_order,
    "deviation for variance": wrong_exponent,
    "damping in units of the loss": lambda gs: ignores_the_scale_of_the_loss(NoiseWeighted(0.9, 1.0, 1e-3), gs),
    "an average of everything": lambda gs: keeps_what_is_not_finite_out_of_its_memory(AveragesEverything(), gs, math.nan),
    "memory in the object": lambda gs: survives_a_file(Hidden(), gs),
    "no damping": lambda gs: ascends_whatever_the_scale(Undamped(), gs),
}


@pytest.mark.parametrize("name", WRONG)
def test_every_law_refutes_what_breaks_it(name):
    @given(gradients=runs([torch.float64], (0, 0)))
    @settings(deadline=None, max_examples=50, database=None, phases=[Phase.generate], report_multiple_bugs=False)
    def trial(gradients):
        WRONG[name](gradients)

    with pytest.raises(AssertionError):
        trial()


def test_other_parameters_than_before_start_afresh():
    for objective in (Residual(), NoiseWeighted()):
        _, state = run(objective, [[torch.ones(2)], [torch.zeros(2)]])
        c, _ = objective.step(seen([torch.ones(3)]), state)
        assert torch.equal(c[0], torch.ones(3))


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: Residual(decay=0.0), "decay must lie in"),
        (lambda: Residual(decay=1.0), "decay must lie in"),
        (lambda: Residual(sigma=-1.0), "sigma must be finite"),
        (lambda: Residual(sigma=math.nan), "sigma must be finite"),
        (lambda: NoiseWeighted(decay=1.0), "decay must lie in"),
        (lambda: NoiseWeighted(exponent=-0.5), "exponent must be finite"),
        (lambda: NoiseWeighted(damping=0.0), "damping = 0 divides"),
        (lambda: NoiseWeighted(damping=Relative(0.0)), "damping = 0 divides"),
        (lambda: NoiseWeighted(damping=-1.0), "damping must be finite"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_they_are_exported():
    assert {"Eigen", "Gradient", "NoiseWeighted", "Preconditioned", "Residual", "Smoothed"} == set(objectives.__all__)
