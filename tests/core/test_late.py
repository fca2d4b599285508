"""Signals during what may not be broken off come after it."""

import signal
import threading

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

import geosam
from geosam.core.late import late
from geosam.metrics import Fisher
from tests.networks import build, draw, labels


@pytest.fixture(autouse=True)
def _interrupts():
    """A shell's background jobs ignore them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def handlers():
    return [signal.getsignal(number) for number in signal.valid_signals()]


@pytest.mark.parametrize("fails", [False, True])
def test_a_signal_waits_for_the_end(fails):
    before, done = handlers(), []

    def run() -> None:
        signal.raise_signal(signal.SIGINT)
        done.append(True)
        if fails:
            raise ValueError

    with pytest.raises(KeyboardInterrupt):
        late(run)
    assert done and handlers() == before
    assert late(lambda: 3) == 3 and handlers() == before


def test_every_handler_is_called_where_one_raises():
    called, before = [], signal.signal(signal.SIGUSR1, lambda *_: called.append("second"))

    def run() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGUSR1)

    try:
        with pytest.raises(KeyboardInterrupt):
            late(run)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert called == ["second"]


def test_another_thread_changes_no_handler():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(late(handlers)))
    thread.start()
    thread.join()
    assert seen == [handlers()]


class Interrupted(nn.Module):
    """A signal comes while its forward pass is recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 3)

    def forward(self, x):
        if get_proxy_mode() is not None and not CAME:
            CAME.append("before")
            signal.raise_signal(signal.SIGINT)
            CAME.append("after")
        return self.net(x)


CAME: list[str] = []  # what the model holds is as before after a step that was broken off


def test_a_recording_is_not_broken_off():
    CAME.clear()
    model = build(Interrupted)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), Fisher(rows_limit=0))
    before, kept = handlers(), [p.detach().clone() for p in model.parameters()]
    with pytest.raises(KeyboardInterrupt):
        opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6)))
    assert CAME == ["before", "after"] and handlers() == before
    assert all(map(torch.equal, model.parameters(), kept))
    opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6)))
