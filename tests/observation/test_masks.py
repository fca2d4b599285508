"""All that is observed in one pass under dropout has one mask, or is refused."""

import pytest
import torch
from torch import Tensor, nn

import geosam
from geosam.core import limits
from geosam.engines import Auto, Func
from geosam.observation import LabelDraws, Observation, PerSampleGradients
from geosam.sampling import Exact, MonteCarlo
from tests.networks import build, draw, labels


def dropped(n: int = 1) -> geosam.problem.Bound:
    model = build(lambda: nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(), nn.Linear(16, 3)))
    return geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(n, 4), labels(n))


def mask(seen: Observation, request: LabelDraws) -> Tensor:
    """Of the only sample: where its rows of the last weights are not zero."""
    squares = seen[request].squares
    assert squares is not None
    return squares[2].sum(0) != 0


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("engine", [Auto(), Func()], ids=repr)
def test_every_kind_of_draws_sees_the_mask_of_the_pass(engine, train):
    requests = (LabelDraws(MonteCarlo(1), engine), LabelDraws(MonteCarlo(2), engine), LabelDraws(Exact(), engine))
    bound, found = dropped(), set()
    for _ in range(4):
        seen = geosam.observe(bound, (*requests, PerSampleGradients(engine)), train=train)
        masks = [mask(seen, request) for request in requests]
        assert all(torch.equal(masks[0], m) for m in masks) and not masks[0].all()
        torch.testing.assert_close(list(seen.gradient)[2].abs().sum(0) != 0, masks[0])
        found.add(tuple(masks[0].tolist()))
    assert len(found) > 1 if train else len(found) == 1


def test_second_draws_use_labels_of_their_own():
    bound = geosam.Problem(build(lambda: nn.Linear(4, 3)), nn.CrossEntropyLoss()).on(draw(50, 4), labels(50))
    squares, rows = (LabelDraws(MonteCarlo(1), Auto(), limit) for limit in (None, 1000))
    seen = geosam.observe(bound, (squares, rows), train=True)
    assert not torch.allclose(seen[squares].squares[0], seen[rows].rows.mean_squares()[0])


def test_other_masks_than_those_of_the_pass_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="Use one engine"):
        geosam.observe(dropped(), (LabelDraws(MonteCarlo(1), Auto()), LabelDraws(MonteCarlo(1), Func())))
    monkeypatch.setattr(limits, "CHUNK", 1)
    alone = LabelDraws(MonteCarlo(1), Auto())
    geosam.observe(dropped(6), (alone,), train=True)
    with pytest.raises(ValueError, match="in chunks"):
        geosam.observe(dropped(6), (alone, PerSampleGradients(Auto())))
