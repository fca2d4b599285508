"""What an exception leaves half done is undone, also where the undoing is broken off; a fallback takes refusals alone."""

import ast
import contextlib
import functools
import os
import signal
import warnings

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import geosam
from geosam.core.stacks import Stacks, Watch
from geosam.core.undo import Attempt, pass_on, undisturbed, unless_raised
from geosam.predictive import distribution
from tests.core.test_stacks import CONTEXTS, ORDINARY, left_open
from tests.moments import Boom, by_trace, stacks
from tests.test_floors import parse, sources


def test_a_second_exception_at_any_line_of_the_undoing():
    def use():
        with torch.no_grad(), Watch(), warnings.catch_warnings():
            raise Boom

    before, most, refused = stacks(), 0, []
    for at in range(10_000):
        try:
            most = by_trace(functools.partial(_swallowed, undisturbed(use)), at)
        except Boom:
            refused += [at] if stacks() != before else []
        if at > most > 0:
            break
    assert most > 50 and not refused


def test_noting_how_torch_is_leaves_it_so_at_every_bytecode():
    before, lines = stacks(), by_trace(lambda: Stacks() and None, 0)
    for at in range(1, lines + 1):
        for later in range(24):
            with contextlib.suppress(Boom):
                by_trace(lambda: Stacks() and None, at, later)
            assert stacks() == before, (at, later)


def _swallowed(run):
    with contextlib.suppress(Boom):
        run()


def test_one_use_inside_another_sets_nothing_back():
    @undisturbed
    def inner():
        torch.set_grad_enabled(False)
        raise ValueError

    @undisturbed
    def outer():
        with pytest.raises(ValueError):
            inner()
        return torch.is_grad_enabled()

    assert outer() is False  # the outer one's matter
    torch.set_grad_enabled(True)
    with pytest.raises(ValueError):
        inner()
    assert torch.is_grad_enabled()


def test_undoing_begins_again_where_it_was_broken_off():
    tries = []

    def undo():
        tries.append(1)
        if len(tries) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unless_raised(lambda: 1 / 0, undo)
    assert len(tries) == 2
    assert unless_raised(lambda: 7, undo) == 7 and len(tries) == 2


@pytest.mark.parametrize("name", ORDINARY)
def test_after_a_refusal_torch_is_as_it_was(name):
    before, attempt = stacks(), Attempt()
    try:
        held = left_open([name])
        raise RuntimeError
    except RuntimeError as error:
        attempt.refused(error)
    assert stacks() == before and held and CONTEXTS


def late(*_):
    raise ValueError("late")


class Late:
    def method(self, *_):
        late()

    def __call__(self, *_):
        late()


@contextlib.contextmanager
def handled_by(handler):
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


HANDLERS = [late, lambda *_: late(), Late().method, Late(), functools.partial(functools.partial(late, 1), 2)]


@pytest.mark.parametrize("handler", HANDLERS, ids=["function", "lambda", "method", "object", "partial"])
@pytest.mark.parametrize("turned", [False, True])
def test_what_a_signal_raises_is_no_refusal(handler, turned):
    attempt = Attempt()
    with handled_by(handler), pytest.raises(RuntimeError if turned else ValueError) as raised:
        try:
            try:
                os.kill(os.getpid(), signal.SIGUSR1)
            finally:
                if turned:
                    raise RuntimeError("torch's own, of a context that ended half way")
        except Exception as error:
            attempt.refused(error)
    assert turned or "late" in str(raised.value)


def test_what_a_signal_raises_comes_out_where_torch_fails_to_leave_its_context(monkeypatch):
    late_in = lambda *_: os.kill(os.getpid(), signal.SIGUSR1)  # noqa: E731 - before the level that is then left
    monkeypatch.setattr(torch._functorch.vmap, "_vmap_increment_nesting", late_in)
    use = undisturbed(lambda: torch.vmap(torch.sin)(torch.ones(2)))
    with handled_by(late), pytest.raises(ValueError, match="late"):
        use()
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="shapes"):  # a mistake, made while an interrupt is handled, is raised
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            undisturbed(lambda: torch.nn.functional.linear(torch.ones(2, 3), torch.ones(2, 4)))()


def test_an_interrupt_that_torch_turned_into_another_error_is_no_refusal():
    with pytest.raises(RuntimeError):
        try:
            try:
                raise KeyboardInterrupt
            finally:
                raise RuntimeError
        except RuntimeError as error:
            pass_on(error)


def test_a_refusal_while_an_earlier_signal_is_handled_is_one():
    with handled_by(late):
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
        except ValueError:
            attempt = Attempt()
            try:
                raise RuntimeError
            except RuntimeError as error:
                attempt.refused(error)


BROAD = {"Exception", "BaseException", "RuntimeError", "_UNTRACED", None}


def caught(handler):
    """The names of the classes of an ``except``; None for a bare one."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {getattr(kind, "id", getattr(kind, "attr", None)) for kind in kinds}


def takes_any(handler):
    """Whether it goes on after what may be no refusal."""
    first, last = handler.body[0], handler.body[-1]
    name = getattr(getattr(getattr(first, "value", None), "func", None), "attr", None)
    name = name or getattr(getattr(getattr(first, "value", None), "func", None), "id", None)
    return not isinstance(last, ast.Raise) and name not in ("refused", "pass_on")


def test_every_fallback_sets_torch_back():
    files = [
        f for f in sources("geosam") if not {"records", "ablation", "testing"} & {*f.parts} and f.stem not in ("undo", "stacks")
    ]
    wrong = [
        f"{file.name}:{node.lineno}"
        for file in files
        for node in ast.walk(parse(file))
        if (isinstance(node, ast.ExceptHandler) and caught(node) & BROAD and takes_any(node))
        or (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "suppress")
    ]
    assert not wrong


class Broken(contextlib.ExitStack):
    """A context of torch whose exit is broken off at its first line."""

    def __enter__(self):
        self.kernels = sdpa_kernel(SDPBackend.MATH)
        self.kernels.__enter__()
        return self

    def __exit__(self, *raised):
        raise Boom


def test_a_fallback_after_the_exit_of_a_context_was_broken_off(monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(torch.randn(5, 3), torch.arange(5) % 2)
    request = geosam.observation.PredictiveDistribution()
    predictive = geosam.observe(bound, (request,))[request]
    wanted, before = predictive.mean_diagonal(), stacks()
    monkeypatch.setattr(distribution, "sdpa_kernel", lambda _: Broken())
    torch.testing.assert_close(predictive.mean_diagonal(), wanted)
    assert stacks() == before
