"""Every engine against a loop over single samples. Auto is Hooks, which one test says; the rest ask Hooks itself."""

import copy

import pytest
import torch
from torch import Tensor, nn

import geosam
from geosam.engines import Auto, BackPACK, Func, Hooks
from geosam.engines.abstract import Engine
from geosam.metrics import DiagonalFisher, Fisher
from tests.engines.loop import bind, close, loop
from tests.networks import NETWORKS, batch_norm_net, build, draw, dropout_net, labels, mlp, network


def label(value: object) -> str:
    return type(value).__name__ if isinstance(value, Engine) else str(value).removeprefix("torch.")


TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
BACKPACK = ["mlp", "cnn", "lstm", "embedding"]
ENGINES = pytest.mark.parametrize("engine", [Func(), Hooks(), BackPACK()], ids=label)
CASES = [
    *((Hooks(), name, dtype) for name in NETWORKS for dtype in TOLERANCE),
    *((Func(), name, torch.float64) for name in NETWORKS),
    *((Func(), name, torch.float32) for name in ("mlp", "lstm")),
    *((BackPACK(), name, torch.float32) for name in BACKPACK),
    (BackPACK(), "cnn", torch.float64),  # not the embedding: BackPACK scatters into float32 there, and torch raises
]


@pytest.mark.parametrize("engine, name, dtype", CASES, ids=label)
def test_rows_and_squares_are_those_of_a_loop(engine, name, dtype):
    model, x, y = network(name, dtype=dtype)
    losses, jacobian = loop(model, x, y)
    bound, parameters, tolerance = bind(model, x, y), list(model.parameters()), TOLERANCE[dtype]

    found, rows = engine.rows(bound, parameters)
    close([found], [losses], tolerance)
    basis = torch.eye(len(x), dtype=dtype)
    for i in range(len(x)):
        close(rows.vjp(basis[i]), [j[i] for j in jacobian], tolerance)
    flat = torch.cat([j.reshape(len(x), -1) for j in jacobian], 1).double()
    close([rows.gram()], [flat @ flat.T], tolerance)

    found, gradient, squares = engine.squares(bound, parameters)
    close([found], [losses], tolerance)
    close(gradient, [j.mean(0) for j in jacobian], tolerance)
    close(squares, [j.double().square().mean(0) for j in jacobian], tolerance)
    assert {s.dtype for s in squares} <= {dtype, torch.float64}  # small gradients have their own test


@pytest.mark.parametrize("name", ["mlp", "weight norm"])
def test_auto_is_hooks(name):
    model, x, y = network(name)
    bound, parameters = bind(model, x, y), list(model.parameters())
    found, true = (engine.capture(bound, parameters, lambda z: draw(2, *z.shape)) for engine in (Auto(), Hooks()))
    for of_auto, of_hooks in ((found.rows, true.rows), (found.drawn, true.drawn)):
        assert torch.equal(of_auto.gram(), of_hooks.gram())
    assert Auto().explain(bound, parameters) == Hooks().explain(bound, parameters)


@ENGINES
@pytest.mark.parametrize(
    "loss, targets",
    [
        (nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 5.0]), label_smoothing=0.1), labels(6)),
        (nn.CrossEntropyLoss(ignore_index=1), torch.tensor([0, 1, 2, 1, 0, 0])),
        (nn.MSELoss(), draw(6, 3, seed=9)),
    ],
    ids=["weights", "ignored", "MSE"],
)
def test_rows_average_to_the_gradient_whatever_the_reduction_divides_by(engine, loss, targets):
    model, x = build(mlp), draw(6, 4)
    expected = torch.autograd.grad(loss(model(x), targets), list(model.parameters()))
    bound, parameters = bind(model, x, targets, loss), list(model.parameters())
    close(engine.rows(bound, parameters)[1].vjp(torch.full((6,), 1 / 6)), expected, 1e-6)
    close(engine.squares(bound, parameters)[1], expected, 1e-6)


@ENGINES
def test_some_of_the_parameters_in_an_order_of_their_own(engine):
    model, x, y = network("mlp")
    _, jacobian = loop(model, x, y)
    some = [3, 0]
    parameters = [list(model.parameters())[i] for i in some]
    bound = bind(model, x, y).wrt(parameters)
    close(engine.rows(bound, parameters)[1].vjp(torch.eye(6)[2]), [jacobian[i][2] for i in some], 1e-5)
    close(engine.squares(bound, parameters)[2], [jacobian[i].square().mean(0) for i in some], 1e-5)


@ENGINES
@pytest.mark.parametrize("what", ["rows", "squares"])
def test_batch_norm_on_batch_statistics_is_refused_and_frozen_is_right(engine, what):
    model, x, y = build(batch_norm_net), draw(6, 4), labels(6)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"1 \(BatchNorm1d\).*eval mode"):
        getattr(engine, what)(bind(model, x, y), list(model.parameters()))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    model.eval()
    _, jacobian = loop(model, x, y)
    close(engine.squares(bind(model, x, y), list(model.parameters()))[2], [j.square().mean(0) for j in jacobian], 1e-5)


def test_an_unused_parameter_has_zero_rows_or_is_refused():
    model = build(mlp)
    model.spare = nn.Linear(2, 2)
    model.forward = lambda x: nn.Sequential(*list(model)[:3])(x)  # type: ignore[method-assign]
    bound, parameters = bind(model, draw(6, 4), labels(6)), list(model.parameters())
    assert all(not s.any() for s in Func().squares(bound, parameters)[2][-2:])
    with pytest.raises(ValueError, match=r"spare\.weight"):
        BackPACK().squares(bound, parameters)


class Constant(nn.Module):
    """Outputs made of parameters alone, whatever the input is."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(draw(3))

    def forward(self, x: Tensor) -> Tensor:
        return (2 * self.theta).tanh().expand(len(x), 3)


@pytest.mark.parametrize("engine", [Func(), Hooks()], ids=label)
def test_outputs_that_no_activation_enters_still_have_rows(engine):
    model, x, y = build(Constant), draw(6, 4), labels(6)
    _, jacobian = loop(model, x, y)
    rows = engine.rows(bind(model, x, y), list(model.parameters()))[1]
    for i, e in enumerate(torch.eye(6)):
        close(rows.vjp(e), [j[i] for j in jacobian], 1e-6)


@pytest.mark.parametrize(
    "metric, form", [(DiagonalFisher(), "factors"), (DiagonalFisher(engine=Func()), "Func"), (Fisher(), "factors")]
)
def test_explain_knows_the_engine_of_drawn_labels(metric, form):
    model, x, y = network("mlp")
    assert f": {form} (" in bind(model, x, y).explain(metric)
    assert "no engine is used" in bind(build(dropout_net), draw(6, 4), y).explain(Fisher())
    assert "no engine is used" in bind(model, x, y).explain(geosam.metrics.Euclidean())


@ENGINES
def test_gradients_are_left_alone_and_torch_func_works_afterwards(engine):
    model, x, y = network("mlp")
    parameters, marks = list(model.parameters()), []
    for p in parameters[:-1]:
        p.grad = torch.full_like(p, 7.0)
        marks.append(p.grad)
    engine.rows(bind(model, x, y), parameters)
    engine.squares(bind(model, x, y), parameters)
    assert all(p.grad is m and (m == 7).all() for p, m in zip(parameters, marks, strict=False))
    assert parameters[-1].grad is None
    values = {k: v.detach() for k, v in model.named_parameters()}
    torch.func.jacrev(lambda v: torch.func.functional_call(model, v, (x,)))(values)
