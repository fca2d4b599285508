"""Func with a compiler: the same numbers, compiled once, and nothing that was true of an earlier step only."""

import functools
import warnings

import pytest
import torch
from torch import Tensor, nn

import geosam
from geosam.engines import Func
from geosam.metrics import DiagonalEmpiricalFisher, DiagonalFisher, Exact
from geosam.rows import Materialised
from tests.engines.loop import close, slopes
from tests.networks import build, draw, dropout_net, labels, mlp, network

X, Y = draw(6, 4), labels(6)
SLOW = pytest.mark.slow  # each compilation takes seconds; the fast ones have a case of each kind


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # dynamo's own, of torch.jit
        yield


class Compiler:
    """A compiler that needs no C++, and how often it has compiled."""

    def __init__(self, fullgraph: bool = True, backend: str = "eager") -> None:
        from torch._dynamo.testing import CompileCounterWithBackend  # slow to import, and only here

        self.counter = CompileCounterWithBackend(backend)
        self.func = Func(compiler=functools.partial(torch.compile, fullgraph=fullgraph, backend=self.counter))

    def agrees(self, bound: geosam.problem.Bound) -> int:
        """The new compilations of ``squares``, whose numbers must be those of Func alone."""
        before = self.counter.frame_count
        found, right = (engine.squares(bound, bound.parameters) for engine in (self.func, Func()))
        close([found[0], *found[1], *found[2]], [right[0], *right[1], *right[2]], 1e-5)
        assert all(s.dtype == torch.float64 for s in found[2])
        return self.counter.frame_count - before


def bind(model: nn.Module, x: Tensor = X, y: Tensor = Y) -> geosam.problem.Bound:
    return geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)


def jacobian(rows: geosam.rows.Rows) -> list[Tensor]:
    assert isinstance(rows, Materialised)
    return list(rows.jacobian)


MORE = ["mlp", "residual, GroupNorm", "transformer", "embedding", "weight norm"]


@pytest.mark.parametrize("name", ["tied", *(pytest.param(name, marks=SLOW) for name in MORE)])
def test_every_network_is_compiled_once(name):
    compiler, (model, x, y) = Compiler(backend="aot_eager"), network(name)
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    for first in (True, False, False):
        assert (
            compiler.agrees(problem.on(x, y)) > 0
        ) == first  # aot_eager is called twice by the first compilation of a process
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(-1.2)
        x, y = x.flip(0), y.roll(1)


def test_rows_and_drawn_rows_are_compiled_too():
    compiler, bound = Compiler(), bind(build(mlp))
    for expected in (2, 2):  # in all
        captured = compiler.func.capture(bound, bound.parameters, slopes(Y))
        right = Func().capture(bound, bound.parameters)
        close([captured.losses], [right.losses], 1e-5)
        for found in (captured.rows, captured.drawn):
            close(jacobian(found), jacobian(right.rows), 1e-5)
        assert compiler.counter.frame_count == expected


class Changing(nn.Module):
    """All that may change between steps: a buffer, a tensor held as an attribute, the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.head = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)
        self.norm.eval()
        self.register_buffer("mask", torch.ones(5))
        self.tensor = torch.ones(5)

    def forward(self, x: Tensor) -> Tensor:
        z = self.norm(self.inner(x)).tanh() * self.mask * self.tensor
        return self.head(z if self.training else 2 * z)


def test_nothing_stale_is_used():
    compiler, model = Compiler(), build(Changing)
    weight = torch.tensor([0.5, 1.0, 2.0])
    problem = geosam.Problem(model, nn.CrossEntropyLoss(weight=weight))
    chosen = [model.head.weight, model.inner.weight]
    agrees = lambda x=X, y=Y: compiler.agrees(problem.on(x, y).wrt(chosen))  # noqa: E731
    assert agrees() == 1
    unseen = [
        lambda: model.norm.running_mean.add_(0.3),
        lambda: setattr(model, "mask", draw(5, seed=3)),
        lambda: model.tensor.mul_(1.5),
        lambda: setattr(model, "tensor", draw(5, seed=4)),
        lambda: model.head.bias.data.add_(1.0),  # a parameter that was not chosen
        lambda: weight.mul_(torch.tensor([3.0, 1.0, 1.0])),
    ]
    for change in unseen:
        change()
        assert agrees() == 0
    model.training = False
    assert (agrees(), agrees()) == (1, 0)
    hook = model.inner.register_forward_hook(lambda module, args, out: 2 * out)
    assert (agrees(), agrees()) == (1, 0)
    hook.remove()
    assert (agrees(), agrees(X[:4], Y[:4])) == (0, 1)


def test_a_step_compiles_once_and_moves_as_without():
    compiler, models, counts = Compiler(), [build(mlp), build(mlp)], []
    metrics = [DiagonalEmpiricalFisher(0.1, engine=engine) for engine in (compiler.func, Func())]
    steps = [
        (geosam.SAM(torch.optim.SGD(m.parameters(), lr=0.5), metric, rho=0.1), geosam.Problem(m, nn.CrossEntropyLoss()))
        for m, metric in zip(models, metrics, strict=True)
    ]
    for i in range(3):
        for opt, problem in steps:
            opt.step(problem.on(draw(6, 4, seed=i), labels(6, seed=i)))
        counts.append(compiler.counter.frame_count)
    assert counts == [1, 1, 1]
    close(list(models[0].parameters()), list(models[1].parameters()), 1e-5)


@SLOW
def test_the_fisher_by_compiled_rows():
    compiler, bound = Compiler(), bind(build(mlp))
    found, right = (DiagonalFisher(0.1, Exact(), engine).at(bound) for engine in (compiler.func, Func()))
    v = [draw(*p.shape, seed=5) for p in bound.parameters]
    close(found.flat(v), right.flat(v), 1e-5)
    assert compiler.counter.frame_count == 2


def test_many_problems_in_one_process():
    compiler = Compiler()
    with torch._dynamo.config.patch(recompile_limit=1):  # after so many torch.compile gives up on a function
        for width in (2, 3):
            assert compiler.agrees(bind(build(functools.partial(nn.Linear, width, 3)), draw(6, width))) == 1


def test_chunks_of_a_compiled_function():
    cut, whole, bound = Func(chunk_size=3, compiler=Compiler().func.compiler), Func(), bind(build(mlp))
    close(cut.squares(bound, bound.parameters)[2], whole.squares(bound, bound.parameters)[2], 1e-6)
    close(*(jacobian(engine.rows(bound, bound.parameters)[1]) for engine in (cut, whole)), tolerance=1e-6)  # type: ignore[misc]


def test_random_numbers_under_a_compiler_are_refused():
    compiler, model = Compiler(), build(dropout_net)
    bound, state = bind(model), torch.get_rng_state()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"random numbers.*engines\.Func.*eval mode"):
            compiler.func.squares(bound, bound.parameters)
    assert torch.equal(torch.get_rng_state(), state)
    model.eval()
    assert compiler.agrees(bound) == 1


class Breaking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return self.head(x)


def test_what_cannot_be_compiled_is_refused_or_right():
    bound = bind(build(Breaking))
    with pytest.raises(ValueError, match=r"do not run in compiled form.*engines\.Func.*without fullgraph"):
        Compiler().func.squares(bound, bound.parameters)
    Compiler(fullgraph=False).agrees(bound)


@pytest.mark.parametrize("compiler", ["inductor", True])
def test_a_compiler_is_a_function(compiler):
    with pytest.raises(TypeError, match=r"takes a function and returns it compiled"):
        Func(compiler=compiler)
