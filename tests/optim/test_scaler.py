"""GradScaler: the supported call equals the unscaled run, and the unsupported calls name it."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam import SAM, Copy, Swap
from geosam.metrics import DiagonalEmpiricalFisher, EmpiricalFisher, Euclidean, GradientMagnitude, KLExact, Monge
from geosam.objectives import Smoothed
from tests.networks import Closure, build, clones, draw, labels, mlp, same
from tests.placement import device

X, Y = draw(6, 4), labels(6)


def scaler_of(scale: float = 1024.0, **settings: object) -> torch.amp.GradScaler:
    return torch.amp.GradScaler(device().type, init_scale=scale, **settings)


def scaled(model: nn.Module, scaler: torch.amp.GradScaler, poison: int = 0):
    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        model.zero_grad()
        loss = F.cross_entropy(model(X), Y)
        scaler.scale(loss).backward()
        if calls == poison:
            model[0].bias.grad[0] = math.inf
        return loss

    return closure


@pytest.mark.parametrize("move", [Copy, Swap])
@pytest.mark.parametrize("metric", [Euclidean(), GradientMagnitude(), Monge()], ids=repr)
@pytest.mark.parametrize("base", [torch.optim.SGD, torch.optim.Adam])
def test_a_scaled_run_equals_the_unscaled_one(metric, base, move):
    model, twin, scaler = build(mlp), build(mlp), scaler_of()
    opt = SAM(base(model.parameters(), lr=0.05), metric, objective=Smoothed(0.5), move=move())
    plain = SAM(base(twin.parameters(), lr=0.05), metric, objective=Smoothed(0.5))
    for _ in range(5):
        loss = opt.step(scaled(model, scaler), scaler=scaler)
        scaler.update()
        expected = plain.step(Closure(twin, X, Y))
        assert torch.equal(loss, expected)
        assert torch.equal(opt.last.dual_norm, plain.last.dual_norm)
        # scaling by a power of two is exact
        assert same(clones(model), clones(twin))


@pytest.mark.parametrize("poison", [1, 2])
def test_an_overflow_in_either_pass_harms_nothing(poison):
    model, scaler = build(mlp), scaler_of()
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    values = clones(model)
    opt.step(scaled(model, scaler, poison), scaler=scaler)
    scaler.update()
    assert all(p.isfinite().all() for p in model.parameters())
    if poison == 1:
        assert not opt.last.finite and opt.last.radius == 0
    else:
        assert same(clones(model), values) and scaler.get_scale() == 512


def test_rho_zero_with_a_scaler_is_the_usual_recipe():
    model, twin, scaler, other = build(mlp), build(mlp), scaler_of(), scaler_of()
    opt, plain = (
        SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.0),
        torch.optim.SGD(twin.parameters(), lr=0.1),
    )
    opt.step(scaled(model, scaler), scaler=scaler)
    scaler.update()
    scaled(twin, other)()
    other.step(plain)
    other.update()
    assert same(clones(model), clones(twin))


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("with_closure", [True, False])
def test_scaler_step_is_refused_with_the_cure(with_closure, enabled):
    model, scaler = build(mlp), scaler_of(enabled=enabled)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    closure = scaled(model, scaler)
    closure()
    values = clones(model)
    if with_closure and not enabled:
        scaler.step(opt, closure)  # a disabled scaler hands the call on: this is opt.step(closure)
        assert not same(clones(model), values)
        return
    # a disabled scaler cannot be told from a plain step() without a closure
    with pytest.raises(TypeError, match=r"opt\.step\(closure, scaler=scaler\)" if enabled else r"opt\.step\(closure\)"):
        scaler.step(opt, closure) if with_closure else scaler.step(opt)
    assert same(clones(model), values)
    fresh = scaler_of(enabled=enabled)
    opt.step(scaled(model, fresh), scaler=fresh)
    assert not same(clones(model), values) and opt.last.radius.item() == pytest.approx(0.05)


def test_a_disabled_scaler_changes_nothing():
    model, twin, scaler = build(mlp), build(mlp), scaler_of(enabled=False)
    SAM(torch.optim.SGD(model.parameters(), lr=0.1)).step(scaled(model, scaler), scaler=scaler)
    SAM(torch.optim.SGD(twin.parameters(), lr=0.1)).step(Closure(twin, X, Y))
    assert same(clones(model), clones(twin))


PROBLEMS = {
    "gradient": Monge(),
    "squares": DiagonalEmpiricalFisher(),
    "rows": EmpiricalFisher(),
    "KL, whose pass lands": KLExact(along=GradientMagnitude()),
}


@pytest.mark.parametrize("micro", [False, True], ids=["batch", "list"])
@pytest.mark.parametrize("metric", PROBLEMS.values(), ids=PROBLEMS)
def test_a_scaled_problem_equals_the_unscaled_one(metric, micro):
    model, twin, scaler = build(mlp), build(mlp), scaler_of(2.0**12)
    update = geosam.updates.SurrogateGap(0.2)
    opts = [SAM(torch.optim.SGD(m.parameters(), lr=0.05), metric, update=update) for m in (model, twin)]
    for _ in range(3):
        problems = [geosam.Problem(m, nn.CrossEntropyLoss()) for m in (model, twin)]
        sources = [[p.on(X[:2], Y[:2]), p.on(X[2:], Y[2:])] if micro else p.on(X, Y) for p in problems]
        loss, expected = opts[0].step(sources[0], scaler=scaler), opts[1].step(sources[1])
        scaler.update()
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(opts[0].last.dual_norm, opts[1].last.dual_norm)
        torch.testing.assert_close(clones(model), clones(twin), rtol=1e-6, atol=1e-8)


def test_a_scaled_problem_sees_gradients_that_float16_cannot_hold():
    """Each entry of ∂L/∂outputs is below what float16 holds: all of it is lost without the scale."""

    def tiny(outputs: Tensor, _: Tensor) -> Tensor:
        return outputs.float().mean() * 1e-9

    moved = []
    for scaler in (scaler_of(2.0**16), None):
        model = build(mlp)
        opt = SAM(torch.optim.SGD(model.parameters(), lr=1.0))
        with torch.autocast(device().type, torch.float16):
            opt.step(geosam.Problem(model, tiny).on(X, Y), scaler=scaler)
        moved.append(opt.last.radius.item())
    assert moved == [pytest.approx(0.05), 0.0]


@pytest.mark.parametrize("route", ["closure", "problem", "perturb"])
def test_an_overflow_in_the_first_pass_lowers_the_scale(route):
    model, scaler = build(mlp), scaler_of(2.0**20)
    opt, calls = SAM(torch.optim.SGD(model.parameters(), lr=0.1)), []

    def poison(_: nn.Module, __: object, outputs: Tensor) -> Tensor:
        calls.append(1)
        return outputs * math.inf if len(calls) == 1 else outputs

    model.register_forward_hook(poison)
    source = scaled(model, scaler) if route == "closure" else geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    if route == "perturb":
        opt.perturb(source, scaler=scaler)
        opt.zero_grad()
        scaler.scale(F.cross_entropy(model(X), Y)).backward()
        scaler.step(opt.base)
    else:
        opt.step(source, scaler=scaler)
    scaler.update()
    assert not opt.last.finite and len(calls) == 2 and scaler.get_scale() == 2.0**19


def test_a_scaled_first_pass_alone_gives_the_unscaled_epsilon():
    model, scaler = build(mlp), scaler_of(2.0**20)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), GradientMagnitude(damping=1e-3), rho=0.1)
    with opt.perturbed(scaled(model, scaler), scaler) as p:
        ours = [e.clone() for e in p.epsilon]
    with opt.perturbed(Closure(model, X, Y)) as p:
        for e, f in zip(ours, p.epsilon, strict=True):
            torch.testing.assert_close(e, f, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("fused", [False, True])
def test_unscaling_by_the_wrong_optimizer_is_refused(fused):
    model, scaler = build(mlp), scaler_of()
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1, fused=fused))
    before = clones(model)
    opt.perturb(scaled(model, scaler), scaler=scaler)
    scaled(model, scaler)()
    scaler.unscale_(opt)
    with pytest.raises(TypeError, match=r"scaler\.unscale_\(opt\.base\)"):
        scaler.step(opt.base)
    assert all(torch.equal(a, b) for a, b in zip(clones(model), before, strict=True))


def test_a_step_without_a_closure_is_told_of_no_scaler():
    opt = SAM(torch.optim.SGD(build(mlp).parameters(), lr=0.1))
    with pytest.raises(TypeError, match="needs a closure") as caught:
        opt.step()
    assert "scaler" not in str(caught.value)


def test_a_closure_that_unscales_and_clips_is_told_where_to_clip():
    model, scaler = build(mlp), scaler_of()
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1))

    def closure():
        opt.zero_grad()
        loss = nn.functional.cross_entropy(model(X), Y)
        scaler.scale(loss).backward()
        scaler.unscale_(opt.base)
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        return loss

    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(RuntimeError, match="max_norm="):
        opt.step(closure, scaler=scaler)
    assert all(map(torch.equal, model.parameters(), before))


def test_clipping_of_unscaled_gradients_in_a_hook_of_the_base():
    """The place to clip: after both passes and after the scaler has unscaled, with a scaler and without one."""
    ends = []
    for scaler in (scaler_of(), None):
        model = build(mlp)
        opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1))

        def clip(base: torch.optim.Optimizer, *_: object, model: nn.Module = model) -> None:
            nn.utils.clip_grad_norm_(model.parameters(), 0.01)

        opt.base.register_step_pre_hook(clip)
        before = clones(model)
        opt.step(scaled(model, scaler) if scaler else Closure(model, X, Y), scaler=scaler)
        moved = torch.cat([(a - b).flatten() for a, b in zip(clones(model), before, strict=True)])
        assert moved.norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)
        ends.append(moved)
    torch.testing.assert_close(*ends)
