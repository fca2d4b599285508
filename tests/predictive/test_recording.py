"""Products with the Jacobian: right on every network, recorded once for a structure, and made again where it changes."""

import pytest
import torch
from torch import nn

import geosam
from geosam.core import vectors as vec
from geosam.observation import PredictiveDistribution
from geosam.predictive import recording as _linear
from geosam.predictive.recording import Recorder
from tests.fishers import closeness, flat
from tests.networks import NETWORKS, batch_norm_net, build, draw, dropout_net, labels, mlp, network
from tests.placement import device

FLOAT64 = torch.float64
MADE = {**NETWORKS, "BatchNorm": (batch_norm_net, (4,)), "dropout": (dropout_net, (4,))}


@pytest.fixture
def traces(monkeypatch):
    """Counts the recordings made."""
    made, record = [], _linear.record

    def counted(*args):
        made.append(None)
        made[-1] = record(*args)
        return made[-1]

    monkeypatch.setattr(_linear, "record", counted)
    return made


def predictive_of(problem, x):
    return geosam.observe(problem.on(x, labels(len(x))), (PredictiveDistribution(),))[PredictiveDistribution()]


def direction(predictive, seed=4):
    return [draw(*p.shape, seed=seed, dtype=p.dtype) for p in predictive.parameters]


def oracle(predictive, *directions):
    """Jᵀ H J v of softmax outputs for each v, J dense by reverse mode."""
    theta = flat(predictive.parameters).to(predictive.parameters[0].dtype)
    jacobian = torch.autograd.functional.jacobian(
        lambda t: predictive.forward(vec.unflatten(t, predictive.parameters)).reshape(-1), theta
    ).double()
    p = predictive.outputs.double().softmax(1)
    rows = jacobian.reshape(*p.shape, -1)
    along = torch.stack([rows @ flat(v) for v in directions])
    return torch.einsum("ncp,knc->kp", rows, p * (along - (p * along).sum(2, keepdim=True))) / len(p)


def error(predictive, *seeds):
    """The largest over a direction a seed."""
    directions = [direction(predictive, seed) for seed in seeds or (4,)]
    found = [flat(predictive.fisher(v)) for v in directions]
    return max(closeness(got, want) for got, want in zip(found, oracle(predictive, *directions), strict=True))


def moved(model, factor=1.1):
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(factor)


TYPES = [*((name, FLOAT64) for name in MADE), *((name, torch.float32) for name in ("mlp", "residual, GroupNorm", "dropout"))]


@pytest.mark.parametrize("name, dtype", TYPES, ids=lambda value: str(value).removeprefix("torch."))
def test_a_recording_serves_every_point_and_batch_of_its_shape(name, dtype, traces):
    """However often: torch.func.linearize records an LSTM's gates in place, and is wrong from the second product on."""
    make, shape = MADE[name]
    model = build(make, dtype=dtype)
    problem, tolerance = geosam.Problem(model, nn.CrossEntropyLoss()), 1e-13 if dtype == FLOAT64 else 2e-6
    for seed in (1, 1, 5):
        x = labels(15, 7, seed).reshape(3, 5) if shape is None else draw(3, *shape, seed=seed, dtype=dtype)
        predictive = predictive_of(problem, x)
        assert error(predictive, 4, 5) < tolerance
        moved(model)
    assert len(traces) == 1 and traces[0] is not None
    held = [t for part in traces[0] for t in (*part.buffers(), *part.parameters())]
    assert not held, "a number of the first point is in the graph"


class Changing(nn.Module):
    """What no shape tells: a flag, a tensor that is no buffer, a buffer, a parameter that nothing reads."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)
        self.unused = nn.Parameter(torch.ones(2))
        self.register_buffer("shift", torch.zeros(6))
        self.flag, self.cut, self.gain = False, False, torch.full((), 2.0, dtype=FLOAT64)

    def forward(self, x):
        h = self.first(x) + self.shift
        h = torch.relu(h) if self.flag else torch.tanh(h)
        return self.last((h.detach() if self.cut else h) * self.gain)


class TestChanges:
    def setup_method(self):
        self.model = build(Changing, dtype=FLOAT64)
        self.problem = geosam.Problem(self.model, nn.CrossEntropyLoss())

    def right(self, n=6):
        model = self.model
        predictive = predictive_of(self.problem, draw(n, 4, dtype=model.first.weight.dtype))
        assert error(predictive) < (1e-13 if predictive.outputs.dtype == FLOAT64 else 2e-6)

    def change(self, what):
        model = self.model
        if what == "flag":
            model.flag = True
        elif what == "attribute":
            model.gain = torch.full((), -0.5, dtype=FLOAT64)
        elif what == "type":
            model.float().gain = model.gain.float()

    @pytest.mark.parametrize("what", ["flag", "attribute", "type"])
    def test_another_model_is_another_recording(self, what, traces):
        self.right()
        self.change(what)
        self.right()
        assert len(traces) == 2
        self.right()
        assert len(traces) == 2

    def test_another_batch_size_is_another_recording_and_the_first_is_kept(self, traces):
        for n in (6, 5, 6, 5):
            self.right(n)
        assert len(traces) == 2

    def test_buffers_are_read_anew(self, traces):
        self.right()
        self.model.shift = torch.linspace(-1, 1, 6, dtype=FLOAT64)
        self.right()
        self.model.shift.add_(0.5)
        self.right()
        assert len(traces) == 1

    def test_a_derivative_that_changes_alone_is_noticed(self, traces):
        self.right()
        self.model.cut = True  # the outputs are what they were
        self.right()
        self.right()
        assert len(traces) == 2

    def test_a_model_that_changes_with_every_pass_is_recorded_three_times_and_no_more(self, traces):
        for k in range(5):
            self.model.gain = torch.full((), 1.0 + k, dtype=FLOAT64)
            self.right()
        assert len(traces) == 3

    def test_a_change_now_and_then_costs_a_recording_each(self, traces):
        for k in range(4):  # one more than the tries in a row
            self.model.gain = torch.full((), 1.0 + k, dtype=FLOAT64)
            self.right()
            self.right()
        assert len(traces) == 4

    def test_the_mode_is_part_of_the_structure(self, traces):
        self.model = build(batch_norm_net, dtype=FLOAT64)  # type: ignore[assignment]
        self.problem = geosam.Problem(self.model, nn.CrossEntropyLoss())
        for mode in (True, False, True, False):
            self.model.train(mode)
            assert error(predictive_of(self.problem, draw(6, 4, dtype=FLOAT64))) < 1e-13
        assert len(traces) == 2

    def test_a_choice_of_parameters_is_part_of_the_structure(self, traces):
        chosen = [self.model.last.bias, self.model.first.weight]
        x = draw(6, 4, dtype=FLOAT64)
        for _ in range(2):
            bound = self.problem.on(x, labels(6)).wrt(chosen)
            assert error(geosam.observe(bound, (PredictiveDistribution(),))[PredictiveDistribution()]) < 1e-13
            moved(self.model)
        assert len(traces) == 1

    @pytest.mark.parametrize("index", [[1], [3, 0], [2]], ids=str)
    def test_a_restriction_is_recorded_too(self, index, traces):
        for _ in range(2):
            part = predictive_of(self.problem, draw(6, 4, dtype=FLOAT64)).restrict(index)
            if index == [0]:  # unused: F is zero there
                assert flat(part.fisher(direction(part))).norm() == 0
            else:
                assert error(part) < 1e-13
            moved(self.model)
        assert len(traces) == 1


class Peeking(nn.Module):
    """Control flow that reads a number."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        h = self.first(x)
        return self.last(torch.tanh(h) if h.mean() > 0 else torch.sigmoid(h))


class Cube(torch.autograd.Function):
    """A derivative by hand, and none in forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, u):
        return 3 * ctx.saved_tensors[0] ** 2 * u


class ByHand(Peeking):
    def forward(self, x):
        return self.last(Cube.apply(self.first(x)))


class Overwriting(Peeking):
    def forward(self, x):
        h = self.first(x)
        out = torch.empty_like(h)
        out[:, ::2] = torch.sin(h[:, ::2])
        out[:, 1::2] = h[:, 1::2].mul(2).tanh_()
        return self.last(out.mul_(h))


class Reshaped(nn.Module):
    """GroupNorm and LayerNorm of every rank, with and without their parameters, on tensors that are not contiguous."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 24)
        self.norms = nn.ModuleList([nn.GroupNorm(2, 6), nn.GroupNorm(3, 6, affine=False), nn.LayerNorm([2, 2], bias=False)])
        self.flat, self.last = nn.GroupNorm(4, 24), nn.Linear(24, 3)
        self.layer = nn.LayerNorm(24, elementwise_affine=False)

    def forward(self, x):
        h = self.flat(self.first(x)).reshape(-1, 2, 2, 6).permute(0, 3, 1, 2)
        for norm in self.norms:
            h = torch.tanh(norm(h))
        return self.last(self.layer(h.flatten(1)))


@pytest.mark.parametrize("make, recorded", [(Peeking, False), (ByHand, True), (Overwriting, True), (Reshaped, True)])
def test_what_is_hard_to_record_is_right(make, recorded, traces):
    model = build(make, dtype=FLOAT64)
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    for seed in (1, 5):
        predictive = predictive_of(problem, draw(6, 4, seed=seed, dtype=FLOAT64))
        assert error(predictive, 4, 5) < 1e-13
        moved(model, -1.1)
    assert len(traces) == 1 and (traces[0] is not None) == recorded


def test_a_compiled_model_is_recorded_as_it_is_written(traces):
    model = torch.compile(build(mlp, dtype=FLOAT64), backend="eager")
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    for seed in (1, 5):
        assert error(predictive_of(problem, draw(6, 4, seed=seed, dtype=FLOAT64))) < 1e-13
    assert len(traces) == 1 and traces[0] is not None


@pytest.mark.parametrize("name", ["residual, GroupNorm", "attention"])
def test_autocast_is_in_the_recording(name, traces):
    model, x, _ = network(name, 3)
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    for _ in range(2):
        with torch.autocast(device().type, torch.bfloat16):
            predictive = predictive_of(problem, x)
            v = direction(predictive)
            found, want = flat(predictive.fisher(v)), oracle(predictive, v)[0]
        assert predictive.outputs.dtype == torch.bfloat16 and closeness(found, want) < 0.05
        moved(model)
    assert len(traces) == 1 and traces[0] is not None
    assert error(predictive_of(problem, x)) < 2e-6
    assert len(traces) == 2


def test_a_vector_may_lie_in_memory_as_it_likes():
    predictive = predictive_of(geosam.Problem(build(mlp, dtype=FLOAT64), nn.CrossEntropyLoss()), draw(6, 4, dtype=FLOAT64))
    v = direction(predictive)
    turned = [t.t().contiguous().t() if t.dim() == 2 else t.repeat_interleave(2)[::2] for t in v]
    assert all(a.stride() != b.stride() for a, b in zip(v, turned, strict=True))
    assert closeness(flat(predictive.fisher(turned)), flat(predictive.fisher(v))) < 1e-15


def test_a_linear_layer_costs_two_kernels_a_product_and_the_first_one():
    predictive = predictive_of(geosam.Problem(build(mlp), nn.CrossEntropyLoss()), draw(6, 4))
    predictive.fisher(direction(predictive))
    (slot,) = [s for key, s in predictive.recorder.memory.items() if key[0] == "linear"]
    names = [str(node.target).split(".")[1] for node in slot.recording.linear.graph.nodes if node.op == "call_function"]
    assert sorted(n for n in names if n not in ("t", "expand")) == ["addmm", "addmm", "addmm", "tanh_backward"]


def test_a_wrong_recording_is_not_used(monkeypatch):
    """Outputs right and tangents doubled: only ⟨u, Jv⟩ = ⟨Jᵀu, v⟩ can tell."""
    right = Recorder.at

    def wrong(self, theta, outputs):
        push = right(self, theta, outputs)
        assert push is not None
        return lambda v: 2 * push(v)

    monkeypatch.setattr(Recorder, "at", wrong)
    predictive = predictive_of(geosam.Problem(build(mlp, dtype=FLOAT64), nn.CrossEntropyLoss()), draw(6, 4, dtype=FLOAT64))
    assert error(predictive) < 1e-13
