"""Func: samples in chunks, and one mask for losses and drawn rows."""

import pytest
import torch
from torch import nn

from geosam.engines import Func
from tests.engines.loop import bind, close, slopes
from tests.networks import build, draw, dropout_net, labels, network


@pytest.mark.parametrize("chunk", [1, 2, 4, 6, 100])
def test_chunks_of_samples_change_nothing(chunk):
    model, x, y = network("cnn")
    bound, parameters = bind(model, x, y), list(model.parameters())
    whole, cut = Func().squares(bound, parameters), Func(chunk_size=chunk).squares(bound, parameters)
    for a, b in zip(whole[1] + whole[2], cut[1] + cut[2], strict=True):
        torch.testing.assert_close(a, b)
    close([Func(chunk_size=chunk).rows(bound, parameters)[1].gram()], [Func().rows(bound, parameters)[1].gram()], 1e-6)


def dropout_cnn() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Dropout2d(0.5), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 3))


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("make, shape", [(dropout_net, (4,)), (dropout_cnn, (2, 6, 6))], ids=["mlp", "cnn"])
def test_cotangents_are_drawn_and_pulled_back_under_the_masks_of_the_losses(make, shape, chunk):
    model, x, y = build(make), draw(6, *shape), labels(6)
    captured = Func(chunk).capture(bind(model, x, y), list(model.parameters()), slopes(y))
    for e in torch.eye(6):
        close(captured.drawn.vjp(e), captured.rows.vjp(e), 1e-6)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    Func(chunk).capture(bind(model, x, y), list(model.parameters()))
    assert torch.equal(torch.get_rng_state(), state)  # the stream moves on by one pass, whether or not labels are drawn


def test_samples_taken_one_by_one_keep_their_masks(monkeypatch):
    model, x, y = build(dropout_net), draw(6, 4), labels(6)
    bound, parameters = bind(model, x, y), list(model.parameters())

    def no_rule(*args, **kwargs):
        raise RuntimeError("no batching rule")

    monkeypatch.setattr(torch.func, "vmap", no_rule)
    captured = Func().capture(bound, parameters, slopes(y))
    for e in torch.eye(6):
        close(captured.drawn.vjp(e), captured.rows.vjp(e), 1e-6)


def test_other_masks_than_those_of_the_losses_are_refused(monkeypatch):
    model, x, y = build(dropout_net), draw(6, 4), labels(6)
    vmap, calls = torch.func.vmap, []

    def once(*args, **kwargs):
        calls.append(args)
        if "out_dims" not in kwargs:
            return vmap(*args, **kwargs)

        def fails(*inner):
            vmap(*args, **kwargs)(*inner)
            raise RuntimeError("no batching rule")

        return fails

    monkeypatch.setattr(torch.func, "vmap", once)
    with pytest.raises(ValueError, match=r"engines\.Hooks\(\)"):
        Func().capture(bind(model, x, y), list(model.parameters()), slopes(y))
    assert calls
