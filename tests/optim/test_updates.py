"""GSAM: the update's gradient is ∇L(θ + ε) less α times the part of ∇L(θ) across it, and the default update costs nothing."""

import math
from functools import partial
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from experiments.common.memory import peak_and_kept
from geosam import SAM, Copy, Swap
from geosam.metrics import EmpiricalFisher, Euclidean, GradientMagnitude, ParameterScaled
from geosam.optim.updates import Sharp, SurrogateGap
from geosam.solvers import MultiStep
from geosam.testing import strategies
from tests.networks import Closure, Unruly, build, clones, draw, labels, mlp, same
from tests.optim.test_cost import Wide
from tests.placement import device

X, Y, RHO, ALPHA = draw(6, 4, dtype=torch.float64), labels(6), 0.1, 0.7


def flat(tensors) -> Tensor:
    return torch.cat([t.double().reshape(-1) for t in tensors])


def model_and_opt(alpha: float = ALPHA, dtype: torch.dtype = torch.float64, **settings: object) -> tuple[nn.Module, SAM]:
    model = build(mlp, dtype=dtype)
    update = settings.pop("update", SurrogateGap(alpha))
    return model, SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=RHO, update=update, **settings)


def published(model: nn.Module, closure: Closure, epsilon: list[Tensor], alpha: float) -> Tensor:
    """Zhuang et al., algorithm 1: g and g_p at both points; g⊥ = g − ‖g‖ cos(g, g_p) g_p/‖g_p‖; the update g_p − α g⊥."""
    parameters = list(model.parameters())

    def gradient(displacement: list[Tensor]) -> Tensor:
        with torch.no_grad():
            for p, e in zip(parameters, displacement, strict=True):
                p.add_(e)
        found = flat(torch.autograd.grad(closure.loss(), parameters))
        with torch.no_grad():
            for p, e in zip(parameters, displacement, strict=True):
                p.sub_(e)
        return found

    g, g_p = gradient([torch.zeros_like(e) for e in epsilon]), gradient(epsilon)
    cosine = g @ g_p / (g.norm() * g_p.norm())
    return g_p - alpha * (g - g.norm() * cosine * g_p / g_p.norm())


@pytest.mark.parametrize("source", ["closure", "zeroing in place", "problem"])
@pytest.mark.parametrize("move", [Copy, Swap])
@pytest.mark.parametrize("metric", [Euclidean(), ParameterScaled(), GradientMagnitude(), EmpiricalFisher(0.1)], ids=repr)
def test_a_run_is_that_of_the_published_algorithm(metric, move, source):
    model, opt = model_and_opt(metric=metric, move=move())
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    closure = Closure(model, X, Y) if source == "closure" else Zeroing(model, X, Y)
    source_given = bound if isinstance(metric, EmpiricalFisher) or source == "problem" else closure
    for _ in range(3):
        with opt.perturbed(source_given) as p:
            epsilon = [e.clone() for e in p.epsilon]
        before = flat(clones(model))
        want = published(model, closure, epsilon, ALPHA)
        opt.step(source_given)
        torch.testing.assert_close(flat([p.grad for p in model.parameters()]), want, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(flat(clones(model)), before - 0.1 * want, rtol=1e-9, atol=1e-12)


class Zeroing(Closure):
    """Zeroes gradients in place: the second pass writes where the first one's gradient lies."""

    def __call__(self) -> Tensor:
        self.model.zero_grad(set_to_none=False)
        loss = self.loss()
        loss.backward()
        return loss


@given(data=st.data(), alpha=st.sampled_from([0.4, -1.0, 30.0]), power=st.integers(-25, 18))
@settings(deadline=None)
def test_what_is_subtracted_lies_across_the_sharp_gradient_at_every_scale(data, alpha, power):
    like = data.draw(strategies.spaces([torch.float32]))
    g, s = (data.draw(strategies.vectors(like, power, power)) for _ in range(2))
    got = flat(applied(SurrogateGap(alpha), g, s))
    wide, sharp = flat(g), flat(s)
    across = wide - sharp * (wide @ sharp) / (sharp @ sharp)
    size = float(sharp.norm()) + abs(alpha) * float(wide.norm())
    assert float((got - sharp + alpha * across).norm()) <= 1e-5 * size
    # what is left along s is s itself
    assert float(abs((got - sharp) @ sharp)) <= 1e-5 * size * float(sharp.norm())


def applied(update: SurrogateGap, g: list[Tensor], s: list[Tensor], finite: bool = True, scale: float = 1.0) -> list[Tensor]:
    parameters = [torch.zeros_like(t) for t in s]
    for p, t in zip(parameters, s, strict=True):
        p.grad = t.clone()
    update.apply(update.keep(g, torch.tensor(finite)), parameters, scale)
    return [p.grad for p in parameters if p.grad is not None]


class TestWrong:
    """What the comparison is worth: three slips in the formula are seen."""

    @pytest.mark.parametrize("slip", ["sign", "not projected", "projected on g"])
    def test_a_slip_is_far_from_the_right_update(self, slip):
        g, s = [torch.tensor([1.0, 2.0, 0.5])], [torch.tensor([2.0, -1.0, 1.0])]
        wide, sharp = flat(g), flat(s)
        across = wide - sharp * (wide @ sharp) / (sharp @ sharp)
        wrong = {
            "sign": sharp + 0.4 * across,
            "not projected": sharp - 0.4 * wide,
            "projected on g": sharp - 0.4 * (sharp - wide * (wide @ sharp) / (wide @ wide)),
        }[slip]
        assert float((flat(applied(SurrogateGap(0.4), g, s)) - wrong).norm()) > 0.05


def test_alpha_zero_and_the_default_are_sam():
    results = []
    for update in (None, Sharp(), SurrogateGap(0.0)):
        model, opt = model_and_opt(update=update)
        for _ in range(4):
            opt.step(Closure(model, X, Y))
        results.append(clones(model))
    assert same(results[0], results[1]) and same(results[0], results[2])


def test_the_gap_narrows_more_than_under_sam():
    """One small step from the same point: L(θ + ε) falls as under SAM, and the gap to L(θ) is smaller, to first order."""
    after = {}
    for alpha in (0.0, 0.5):
        model = build(mlp, dtype=torch.float64)
        opt = SAM(torch.optim.SGD(model.parameters(), lr=1e-3), rho=1.0, update=SurrogateGap(alpha))
        closure = Closure(model, X, Y)
        with opt.perturbed(closure) as p:
            epsilon = [e.clone() for e in p.epsilon]
        opt.step(closure)
        flat_loss = closure.loss().item()
        with torch.no_grad():
            for parameter, e in zip(model.parameters(), epsilon, strict=True):
                parameter.add_(e)
        after[alpha] = closure.loss().item(), flat_loss
    (sharp, base), (sharp_gap, base_gap) = after[0.0], after[0.5]
    assert sharp_gap == pytest.approx(sharp, rel=1e-5)
    assert sharp_gap - base_gap < sharp - base


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bad_first_pass_leaves_the_second_pass_s_gradient(value):
    model, opt = model_and_opt()
    twin = build(mlp, dtype=torch.float64)

    def spoil(closure: Unruly, loss: Tensor) -> None:
        model[0].bias.grad[0] = value

    opt.step(Unruly(model, X, Y, {1: spoil}))
    torch.optim.SGD(twin.parameters(), lr=0.1).step(Closure(twin, X, Y))
    assert same(clones(model), clones(twin)) and not opt.last.finite


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bad_second_pass_updates_nothing(value):
    model, opt = model_and_opt()
    values = clones(model)

    def spoil(closure: Unruly, loss: Tensor) -> None:
        model[0].bias.grad[0] = value

    opt.step(Unruly(model, X, Y, {2: spoil}))
    assert same(clones(model), values) and opt.last.skipped


def test_a_parameter_without_a_second_gradient_has_none_in_the_update():
    model, opt = model_and_opt()
    unused = nn.Parameter(torch.ones(2, dtype=torch.float64))
    opt.add_param_group({"params": [unused]})
    opt.step(Closure(model, X, Y))
    assert unused.grad is None and torch.equal(unused.detach(), torch.ones(2, dtype=torch.float64))


def test_a_second_gradient_of_zero_has_nothing_along_it():
    g = [torch.tensor([1.0, -2.0])]
    assert torch.equal(applied(SurrogateGap(0.5), g, [torch.zeros(2)])[0], torch.tensor([-0.5, 1.0]))


def test_sparse_gradients_are_refused_with_the_cure():
    model = nn.Sequential(nn.Embedding(5, 4, sparse=True), nn.Linear(4, 3))
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), update=SurrogateGap())
    values, index = clones(model), torch.tensor([0, 3, 3])

    def closure() -> Tensor:
        opt.zero_grad()
        loss = F.cross_entropy(model(index), labels(3))
        loss.backward()
        return loss

    with pytest.raises(TypeError, match="sparse=False"):
        opt.step(closure)
    assert same(clones(model), values)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_scaled_run_equals_the_unscaled_one(enabled):
    model, opt = model_and_opt(dtype=torch.float32)
    twin, plain = model_and_opt(dtype=torch.float32)
    scaler, x = torch.amp.GradScaler(device().type, init_scale=1024.0, enabled=enabled), X.float()

    def closure() -> Tensor:
        model.zero_grad()
        loss = F.cross_entropy(model(x), Y)
        scaler.scale(loss).backward()
        return loss

    for _ in range(4):
        opt.step(closure, scaler=scaler)
        scaler.update()
        plain.step(Closure(twin, x, Y))
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-8)


def test_with_lbfgs_every_gradient_is_an_update_s():
    model = build(mlp, dtype=torch.float64)
    opt = SAM(torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=1), rho=RHO, update=SurrogateGap(ALPHA))
    closure = Closure(model, X, Y)
    with opt.perturbed(closure) as p:
        epsilon = [e.clone() for e in p.epsilon]
    want = published(model, closure, epsilon, ALPHA)
    opt.step(closure)
    torch.testing.assert_close(flat([p.grad for p in model.parameters()]), want, rtol=1e-9, atol=1e-12)


def test_after_several_steps_of_ascent_the_first_gradient_is_still_that_at_theta():
    model, opt = model_and_opt(solver=MultiStep(3))
    closure = Zeroing(model, X, Y)
    with opt.perturbed(closure) as p:
        epsilon = [e.clone() for e in p.epsilon]
    want = published(model, closure, epsilon, ALPHA)
    opt.step(closure)
    torch.testing.assert_close(flat([p.grad for p in model.parameters()]), want, rtol=1e-9, atol=1e-12)


def test_the_default_keeps_nothing_and_the_surrogate_gap_one_copy_for_the_length_of_a_step():
    held: list[tuple[float, float]] = []
    for chosen in (None, Sharp(), SurrogateGap()):
        model = build(Wide)
        opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), update=chosen)
        closure = Closure(model, draw(1024, 256), labels(1024, 256))
        opt.step(closure)
        opt.zero_grad()
        closure.losses.clear()
        peak, kept = peak_and_kept(partial(opt.step, closure))
        size = sum(p.nbytes for p in model.parameters())
        held.append((peak / size, kept / size))
    (base, left), *others = held
    assert [peak - base for peak, _ in others] == pytest.approx([0.0, 1.0], abs=0.05)
    assert [kept for _, kept in others] == pytest.approx([left, left], abs=0.01)


def test_no_update_takes_another_pass():
    for update in (Sharp(), SurrogateGap()):
        model, opt = model_and_opt(update=update)
        closure = Closure(model, X, Y)
        opt.step(closure)
        assert closure.calls == 2


def test_the_host_reads_nothing():
    """On a device without numbers any reading raises."""
    g, s = ([torch.ones(2, 3, device="meta"), torch.ones(2, device="meta")] for _ in range(2))
    parameters = [torch.empty_like(t) for t in s]
    for p, t in zip(parameters, s, strict=True):
        p.grad = t
    update = SurrogateGap()
    update.apply(update.keep(g, torch.ones((), dtype=torch.bool, device="meta")), parameters, 1.0)
    assert [p.grad.shape for p in parameters] == [t.shape for t in g]


@pytest.mark.parametrize("alpha", [math.nan, math.inf])
def test_an_alpha_that_is_not_finite_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha must be finite"):
        SurrogateGap(alpha)


def test_the_class_itself_is_refused():
    with pytest.raises(TypeError, match="update must be an instance of Update"):
        model_and_opt(update=SurrogateGap)


def test_what_is_kept_is_the_gradient_at_theta_also_where_the_solver_takes_more_passes():
    """Several ascent steps overwrite ``.grad``: what the update kept must not be theirs."""

    class Kept(Sharp):
        def keep(self, gradient, finite, norm=None):
            return [t.clone() for t in gradient]

        def apply(self, kept, parameters, scale):
            self.seen.append(kept)

        seen: ClassVar = []

    model = build(mlp, dtype=torch.float64)
    closure = Closure(model, X, Y)
    closure()
    want = [p.grad.clone() for p in model.parameters()]
    for solver in (None, MultiStep(3)):
        SAM(torch.optim.SGD(model.parameters(), lr=0.0), update=Kept(), solver=solver).step(closure)
    assert len(Kept.seen) == 2 and all(same(kept, want) for kept in Kept.seen)
