"""Memory belongs to a parameter: it follows it through freezing, new groups, another order, another type."""

import copy

import pytest
import torch
from torch import Tensor, nn

import geosam
from geosam import SAM, metrics, objectives
from tests.networks import draw, labels

DECAY = 0.5
SIZES = (3, 3, 2)
FIELDS = {
    "Smoothed": {"objective": objectives.Smoothed(DECAY)},
    "Residual": {"objective": objectives.Residual(1.0, DECAY)},
    "NoiseWeighted": {"objective": objectives.NoiseWeighted(DECAY)},
    "Preconditioned": {"objective": objectives.Preconditioned(metrics.Euclidean(), objectives.Smoothed(DECAY))},
    "Averaged": {"metric": metrics.Averaged(metrics.GradientMagnitude(1.0, 0.1), DECAY)},
    "along": {"metric": metrics.Averaged(metrics.Averaged(metrics.GradientMagnitude(1.0, 0.1), DECAY), DECAY)},
}


class Gradients:
    """Parameters of which a pass has the gradients that are asked for."""

    def __init__(self, **settings: object) -> None:
        self.p = [nn.Parameter(torch.ones(n, dtype=torch.float64)) for n in SIZES]
        self.opt = SAM(torch.optim.SGD([{"params": [p]} for p in self.p], lr=0.0), rho=1.0, **settings)

    def step(self, k: int, of: tuple[int, ...] = (0, 1, 2), radii: tuple[float, ...] | None = None) -> dict[int, Tensor]:
        """ε by parameter, in the k-th pass; only the parameters ``of`` are trained."""
        for i, p in enumerate(self.p):
            p.requires_grad_(i in of)

        def closure() -> Tensor:
            self.opt.zero_grad()
            loss = torch.stack([(draw(*self.p[i].shape, seed=10 * k + i).to(self.p[i]) * self.p[i]).sum() for i in of]).sum()
            loss.backward()
            return loss

        with self.opt.perturbed(closure) as found:
            order = [i for g in self.opt.param_groups for i in range(3) if g["params"][0] is self.p[i] and i in of]
            return {i: e / e.norm() for i, e in zip(order, found.epsilon, strict=True)}


def directions(name: str, trained: list[tuple[int, ...]]) -> dict[int, Tensor]:
    """ε of the last step, each parameter scaled to length 1."""
    run = Gradients(**FIELDS[name])
    return [run.step(k, of) for k, of in enumerate(trained)][-1]


def close(found: Tensor, want: Tensor) -> bool:
    return torch.allclose(found, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "NoiseWeighted"])
class TestFollows:
    """An entry is at its parameter's place, whatever the others do: each is compared to a run of that parameter alone."""

    def test_an_adapter_has_no_past_of_another(self, name):
        fresh = Gradients(**FIELDS[name]).step(2, (1,))[1]
        assert close(directions(name, [(0,), (0,), (1,)])[1], fresh)
        alone = Gradients(**FIELDS[name])
        alone.step(0, (0,))
        alone.step(1, (0,))
        assert close(directions(name, [(0,), (0,), (1,), (0,)])[0], alone.step(3, (0,))[0])

    def test_the_others_freezing_and_joining_changes_nothing(self, name):
        want = directions(name, [(0,), (0,), (0,), (0,)])[0]
        assert close(directions(name, [(0, 1, 2), (0, 2), (0, 1), (0, 1, 2)])[0], want)

    def test_groups_in_another_order(self, name):
        run, still = Gradients(**FIELDS[name]), Gradients(**FIELDS[name])
        for k in range(2):
            run.step(k), still.step(k)
        run.opt.param_groups = run.opt.param_groups[::-1]
        found, want = run.step(2), still.step(2)
        assert all(close(found[i], want[i]) for i in range(3))

    def test_radii_of_their_own_keep_it(self, name):
        run = Gradients(**FIELDS[name])
        run.step(0)
        run.opt.param_groups[0]["rho"] = 2.0
        run.step(1)
        run.opt.param_groups = run.opt.param_groups[::-1]
        found, want = run.step(2), directions(name, [(0, 1, 2)] * 3)
        assert all(close(found[i], want[i]) for i in range(3))

    def test_a_checkpoint_keeps_what_waits(self, name):
        run, other = Gradients(**FIELDS[name]), Gradients(**FIELDS[name])
        run.step(0), run.step(1, (1,))
        saved = copy.deepcopy(run.opt.state_dict())
        want = run.step(2)
        other.step(7, (2,))
        for i, p in enumerate(other.p):
            p.requires_grad_(i == 1)
        other.opt.load_state_dict(saved)
        found = other.step(2)
        assert all(close(found[i], want[i]) for i in range(3))

    def test_a_copy_has_its_own(self, name):
        run = Gradients(**FIELDS[name])
        run.step(0), run.step(1, (1,))
        twin = copy.deepcopy(run)
        run.step(5)
        found, want = twin.step(2), directions(name, [(0, 1, 2), (1,), (0, 1, 2)])
        assert all(close(found[i], want[i]) for i in range(3))

    def test_another_type(self, name):
        run = Gradients(**FIELDS[name])
        run.step(0)
        for p in run.p:
            p.data = p.data.float()
        found = run.step(1)
        assert all(e.dtype == torch.float32 for e in found.values())
        want = directions(name, [(0, 1, 2)] * 2)
        assert all(torch.allclose(found[i].double(), want[i], rtol=1e-5, atol=1e-6) for i in range(3))


def test_without_averages_of_its_own_the_steps_would_differ():
    """The comparisons above can fail: a past changes every direction."""
    for name in FIELDS:
        assert not close(directions(name, [(0,), (0,), (0,)])[0], Gradients(**FIELDS[name]).step(2, (0,))[0]), name


@pytest.mark.parametrize("metric", [metrics.KroneckerFisher(0.1), metrics.BlockDiagonal(metrics.DiagonalFisher(0.1))], ids=repr)
def test_blocks_of_layers_follow_their_layer(metric):
    metric = (
        metrics.BlockDiagonal(metrics.Averaged(metric.metric, DECAY))
        if isinstance(metric, metrics.BlockDiagonal)
        else metrics.Averaged(metric, DECAY)
    )

    def run(frozen: list[bool]) -> Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        opt = SAM(torch.optim.SGD(model.parameters(), lr=0.0), metric, rho=0.1)
        for k, first in enumerate(frozen):
            model[0].requires_grad_(not first)
            source = geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4, seed=k).double(), labels(6, seed=k))
            with opt.perturbed(source) as p:
                e = p.epsilon[-2].clone()
        return e / e.norm()

    assert close(run([False, True, True]), run([True, True, True]))
    assert not close(run([True, True, True]), run([True, True]))


def test_a_model_that_moves_to_another_type_goes_on():
    model = nn.Linear(4, 3)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), objective=objectives.Smoothed())
    for dtype in (torch.float32, torch.float64):
        model.to(dtype)
        opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4).to(dtype), labels(6)))
    assert {t.dtype for t in opt.memory["objective"]["average"]} == {torch.float64}
