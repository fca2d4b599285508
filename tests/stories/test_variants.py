"""Every published variant of SAM is a pair (metric, objective): whole runs against its own formula, written out plainly."""

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, reject, settings
from torch import nn

import geosam
from geosam import SAM, metrics, objectives
from geosam.metrics.parameter_scaled import matrices
from geosam.testing import strategies
from tests.networks import build, draw, labels

RHO, LR, STEPS = 0.3, 0.05, 4
ETA, GAMMA = 0.01, RHO


def called_weight(name, parameter):
    """What the published code of ASAM scales."""
    return "weight" in name


def norm(v):
    return math.sqrt(sum(float((t * t).sum()) for t in v.values()))


class Degenerate(Exception):
    """A direction that is rounding alone: the formulas divide by its length."""


def sizeable(condition):
    if not condition:
        raise Degenerate


def unit(v):
    sizeable(norm(v) > 1e-9)
    return {n: RHO / norm(v) * t for n, t in v.items()}


def asam(t, g):
    """ρ T²g/‖Tg‖, T by name."""
    scaled = {n: t[n] * g[n] for n in g}
    sizeable(norm(scaled) > 1e-9)
    return {n: RHO * t[n] ** 2 * g[n] / norm(scaled) for n in g}


def ellipsoid(f, g):
    """Kim et al., equation 10: γ F⁻¹g/√(gᵀF⁻¹g), F diagonal."""
    square = sum(float((g[n] ** 2 / f[n]).sum()) for n in g)
    return {n: GAMMA * g[n] / f[n] / math.sqrt(square) for n in g}


def everything(f, w):
    return {n: f(n, t) for n, t in w.items()}


def sam(w, g, memory, model):
    return unit(g)


def asam_elementwise(w, g, memory, model):
    return asam(everything(lambda n, t: t.abs() + ETA if "weight" in n else 1.0, w), g)


def asam_filters(w, g, memory, model):
    """Kwon et al., section 3: ‖f‖ on every entry of a convolution filter f, |w| on weights in no filter, 1 on biases."""

    def t_of(n, t):
        if "weight" not in n:
            return torch.ones_like(t)
        out = t.abs() + ETA
        if t.dim() == 4:
            for j in range(t.shape[0]):
                out[j] = math.sqrt(float((t[j] ** 2).sum())) + ETA
        return out

    return asam(everything(t_of, w), g)


def asam_rows(w, g, memory, model):
    """The same with the rows of every matrix for filters."""

    def t_of(n, t):
        if t.dim() < 2:
            return torch.ones_like(t)
        return torch.stack([torch.full_like(f, math.sqrt(float((f**2).sum())) + ETA) for f in t])

    return asam(everything(t_of, w), g)


def asam_layers(w, g, memory, model):
    return asam(everything(lambda n, t: norm({n: t}) if t.dim() > 1 else 1.0, w), g)


def fisher_published(w, g, memory, model):
    """Section 5: f = g², and 1/(1 + ηf) for its inverse, η = 1."""
    inverse = {n: 1 / (1 + 1.0 * g[n] ** 2) for n in g}
    return ellipsoid({n: 1 / inverse[n] for n in g}, g)


def fisher_algorithm(w, g, memory, model):
    """Algorithm 1: equation 12 with a small positive number added to the diagonal."""
    return ellipsoid({n: g[n] ** 2 + 1e-3 for n in g}, g)


def fisher_samples(w, g, memory, model):
    """Equation 11: the squares of the samples' own gradients, averaged; 0.01 added."""
    bound, total = memory["bound"], {n: 0.0 for n in g}
    for i in range(bound.n):
        loss = bound.loss(model(bound.x[i : i + 1]), bound.y[i : i + 1])
        each = torch.autograd.grad(loss, list(model.parameters()))
        total = {n: total[n] + e**2 / bound.n for n, e in zip(g, each, strict=True)}
    return ellipsoid({n: total[n] + 0.01 for n in g}, g)


def monge(w, g, memory, model):
    sizeable(norm(g) > 1e-9)
    return {n: RHO * t / (norm(g) * math.sqrt(1 + norm(g) ** 2)) for n, t in g.items()}


def vasso(w, g, memory, model):
    theta = 0.3
    d = memory.get("d")
    memory["d"] = g if d is None else {n: (1 - theta) * d[n] + theta * g[n] for n in g}
    return unit(memory["d"])


def fsam_code(w, g, memory, model):
    """The authors' code: the average of before is subtracted, then updated; σ = 1, λ = 0.6."""
    m = memory.get("m")
    c = g if m is None else {n: g[n] - m[n] for n in g}
    memory["m"] = g if m is None else {n: 0.6 * m[n] + 0.4 * g[n] for n in g}
    sizeable(norm(c) > 1e-6 * norm(g))
    return unit(c)


def fsam_paper(sigma):
    """The paper: updated, then subtracted; without a past there is nothing to subtract."""

    def ascent(w, g, memory, model):
        first = "m" not in memory
        memory["m"] = g if first else {n: 0.6 * memory["m"][n] + 0.4 * g[n] for n in g}
        c = g if first else {n: g[n] - sigma * memory["m"][n] for n in g}
        sizeable(norm(c) > 1e-6 * norm(g))
        return unit(c)

    return ascent


def infosam_draft(damping):
    """m = a m + (1 − a) g, b = (m − g)², ε = ρ (g/b)/‖g/b‖, a = 0.9, with damping added to b."""

    def ascent(w, g, memory, model):
        first = "m" not in memory
        memory["m"] = g if first else {n: 0.9 * memory["m"][n] + 0.1 * g[n] for n in g}
        if first:
            return unit(g)
        return unit({n: g[n] / ((memory["m"][n] - g[n]) ** 2 + damping) for n in g})

    return ascent


def presam(w, g, memory, model):
    """Objective preconditioner 1/(g² + 0.1), constraint preconditioner of ASAM."""
    t = everything(lambda n, p: p.abs() + ETA if p.dim() > 1 else 1.0, w)
    return asam(t, {n: g[n] / (g[n] ** 2 + 0.1) for n in g})


def normal(name):
    """The normalisation layer of the nets here."""
    return name.startswith("1.")


def sam_on(w, g, memory, model):
    part = unit({n: t for n, t in g.items() if normal(n)})
    return {n: part.get(n, torch.zeros_like(t)) for n, t in g.items()}


def asam_on(w, g, memory, model):
    t = everything(lambda n, p: (p.abs() + ETA if "weight" in n else 1.0) if normal(n) else 0.0, w)
    return asam(t, g)


def block(name):
    return 0.5 if name.startswith("0.") else 2.0


def ball_each(w, g, memory, model):
    """ρ w_b g_b/‖g_b‖ in each block."""
    size = {b: norm({n: t for n, t in g.items() if block(n) == b}) for b in (0.5, 2.0)}
    sizeable(min(size.values()) > 1e-9)
    return {n: RHO * block(n) * t / size[block(n)] for n, t in g.items()}


@dataclass(frozen=True)
class Variant:
    name: str
    published: Callable
    metric: Callable = lambda model: metrics.Euclidean()
    objective: geosam.Objective = objectives.Gradient()


def joint_ball(w, g, memory, model):
    """ρ w_b² g_b/√Σ w_b²‖g_b‖²."""
    return asam(everything(lambda n, t: block(n), w), g)


def blocks(p):
    return lambda model: metrics.Blockwise({"0.*": (metrics.Euclidean(), 0.5), "*": (metrics.Euclidean(), 2.0)}, p)


def normalisation(metric):
    return lambda model: metrics.only(metrics.normalisation(model), metric)


def constant(metric):
    return lambda model: metric


def reciprocal(c):
    return [t / (t**2 + 0.1) for t in c]


VARIANTS = [
    Variant("SAM", sam),
    Variant("ASAM, element-wise", asam_elementwise, constant(metrics.ParameterScaled(ETA, called_weight))),
    Variant("ASAM, filter-wise", asam_filters, constant(metrics.FilterWise(ETA, called_weight))),
    Variant("ASAM, by rows", asam_rows, constant(metrics.FilterWise(ETA, filters=matrices))),
    Variant("ASAM, layer-wise", asam_layers, constant(metrics.LayerWise(0.0))),
    Variant("Fisher SAM, section 5", fisher_published, constant(metrics.GradientMagnitude(1.0, 1.0))),
    Variant("Fisher SAM, algorithm 1", fisher_algorithm, constant(metrics.GradientMagnitude(1.0, 1e-3))),
    Variant("Fisher SAM, equation 11", fisher_samples, constant(metrics.DiagonalEmpiricalFisher(0.01))),
    Variant("Monge SAM", monge, constant(metrics.Monge())),
    Variant("VaSSO", vasso, objective=objectives.Smoothed(0.7)),
    Variant("F-SAM, the code", fsam_code, objective=objectives.Residual(1.0, 0.6)),
    Variant("F-SAM, the paper", fsam_paper(1.0), objective=objectives.Residual(1.0, 0.6)),
    Variant("F-SAM, σ = 0.5", fsam_paper(0.5), objective=objectives.Residual(0.5, 0.6)),
    Variant("infoSAM, unconfirmed", infosam_draft(1e-3), objective=objectives.NoiseWeighted(0.9, 1.0, 1e-3)),
    Variant(
        "preSAM",
        presam,
        constant(metrics.ParameterScaled(ETA)),
        objectives.Preconditioned(metrics.GradientMagnitude(1.0, 0.1)),
    ),
    Variant("preSAM, by a function", presam, constant(metrics.ParameterScaled(ETA)), objectives.Preconditioned(reciprocal)),
    Variant("SAM-ON", sam_on, normalisation(metrics.Euclidean())),
    Variant("SAM-ON, adaptive", asam_on, normalisation(metrics.ParameterScaled(ETA, called_weight))),
    Variant("a ball each", ball_each, blocks(math.inf)),
    Variant("one joint ball", joint_ball, blocks(2.0)),
]
BY_NAME = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)


def batches(bound):
    """The batch, and others near it: replacing x makes another bound problem."""
    problem = geosam.Problem(bound.model, bound.loss)
    return [problem.on(bound.x + 0.25 * k * (-1) ** k, bound.y) for k in range(STEPS)]


def published_run(ascent, bound):
    """Perturbations and final weights of plain gradient descent with the formula's ε."""
    model, memory, epsilons = copy.deepcopy(bound.model), {}, []
    names = [n for n, _ in model.named_parameters()]

    def gradient(here):
        values = torch.autograd.grad(here.loss(model(here.x), here.y), list(model.parameters()))
        return dict(zip(names, values, strict=True))

    for here in batches(bound):
        w = {n: p.detach().clone() for n, p in model.named_parameters()}
        memory["bound"] = here
        epsilon = ascent(w, gradient(here), memory, model)
        with torch.no_grad():
            for n, p in model.named_parameters():
                p += epsilon[n]
        sharp = gradient(here)
        with torch.no_grad():
            for n, p in model.named_parameters():
                p.copy_(w[n] - LR * sharp[n])
        epsilons.append(torch.cat([epsilon[n].reshape(-1) for n in names]))
    return epsilons, torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def our_run(variant, bound):
    model, epsilons = copy.deepcopy(bound.model), []
    base = torch.optim.SGD(model.named_parameters(), lr=LR)
    opt = SAM(base, variant.metric(model), RHO, variant.objective)
    for here in batches(geosam.Problem(model, bound.loss).on(bound.x, bound.y)):
        state = copy.deepcopy(opt.memory)
        with opt.perturbed(here) as p:
            epsilons.append(torch.cat([e.reshape(-1) for e in p.epsilon]))
        opt.memory = state  # looked at, not taken
        opt.step(here)
    return epsilons, torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def gap(got, want):
    """The largest relative difference, of any ε and of the final weights."""
    pairs = [*zip(got[0], want[0], strict=True), (got[1], want[1])]
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


def normalised(bound):
    """Nets with a normalisation layer, which all of the variants understand."""
    return any(isinstance(m, nn.BatchNorm2d) for m in bound.model.modules())


@BY_NAME
@given(bound=strategies.problems([torch.float64], smooth=True).filter(normalised))
@settings(deadline=None, max_examples=max(3, settings().max_examples // 2))  # a run is four steps, each another batch
def test_a_run_is_that_of_the_published_formula(variant, bound):
    try:
        want = published_run(variant.published, bound)
    except Degenerate:
        reject()
    assert gap(our_run(variant, bound), want) < 1e-7


def fixed():
    """A problem on which no two variants coincide."""
    model = build(lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)))
    model = model.double().eval()
    with torch.no_grad():
        model[1].weight += draw(2, seed=5).double() / 4
        model[1].bias += draw(2, seed=6).double() / 4
    return geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 1, 3, 3, dtype=torch.float64), labels(6))


def test_no_formula_is_met_by_another_variant():
    """What the comparison is worth: every other pair is told apart, by a thousand times the tolerance."""
    bound = fixed()
    ours = {v.name: our_run(v, bound) for v in VARIANTS}
    theirs = {v.name: published_run(v.published, bound) for v in VARIANTS}
    family = {"F-SAM, the paper": "F-SAM, the code", "preSAM, by a function": "preSAM"}
    for a, b in itertools.product(ours, theirs):
        if family.get(a, a) != family.get(b, b):
            assert gap(ours[a], theirs[b]) > 1e-4, (a, b)


def test_infosam_without_damping_leaves_one_entry_and_then_nothing():
    """The draft's formula: one entry in 100,000 carries 0.999 of ‖ε‖², and g = m = 0 somewhere makes ε NaN. Damped, neither."""
    n = torch.arange(100_000, dtype=torch.float64)
    g = [1 + torch.sin(n) / 2]
    before = [g[0] + torch.cos(n) / 10]
    before[0][7] = g[0][7] + 1e-9  # almost no noise here

    def drafted(g):
        m = 0.9 * before[0] + 0.1 * g[0]
        e = g[0] / (m - g[0]) ** 2
        return e / e.norm()

    def ours(g):
        seen = geosam.Observation(g, g, torch.ones(()))
        c, _ = objectives.NoiseWeighted(0.9, 1.0).step(seen, {"average": before})
        return geosam.solve(geosam.norms.Identity(), c, 1.0).epsilon[0]

    assert (drafted(g) ** 2).max() > 0.999
    assert (ours(g) ** 2).max() < 0.01
    g[0][3] = before[0][3] = 0.0
    assert drafted(g).isnan().all()
    assert ours(g).isfinite().all() and ours(g)[3] == 0


def test_sam_on_perturbs_normalisation_layers_alone_and_finds_them_by_kind():
    layers = [nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.GroupNorm(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)]
    model = nn.Sequential(*layers).double().eval()
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(5, 3, dtype=torch.float64), labels(5, 2))
    chosen = metrics.normalisation(model)
    named = [n for n, p in model.named_parameters() if chosen(n, p)]
    assert named == [f"{i}.{kind}" for i in (1, 3, 4) for kind in ("weight", "bias")]
    # without names, through a plain closure, by identity
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.0), metrics.only(chosen), RHO)
    with opt.perturbed(lambda: bound()) as p:
        moved = [bool(e.any()) for e in p.epsilon]
    assert moved == [n in named for n, _ in model.named_parameters()]
    assert opt.last.radius.item() == pytest.approx(RHO)
    # at kept seen, which holds copies, by name
    found = geosam.solve(metrics.only(chosen).at(bound), geosam.observe(bound, ()).gradient, RHO)
    assert [bool(e.any()) for e in found.epsilon] == moved


def test_a_model_without_normalisation_layers_is_told_so():
    with pytest.raises(ValueError, match="no normalisation layer"):
        metrics.normalisation(nn.Linear(2, 2))
    assert metrics.normalisation(nn.Linear(2, 2), nn.Linear)("bias", torch.zeros(2))


@pytest.mark.parametrize("kind", [metrics.FilterWise, metrics.LayerWise])
def test_a_negative_eta_is_refused(kind):
    with pytest.raises(ValueError, match="eta must be finite and not negative"):
        kind(-0.1)
