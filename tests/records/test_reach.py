"""What is edited far from the function that a user passes is another run all the same."""

import importlib
import sys

import pytest
import torch
from torch import nn

from geosam.records import fingerprint

CACHED = "import functools, torch\n{}\ndef f(x):\n    return {}\n"
NET = "def make(): return {}\n"


@pytest.mark.parametrize(
    "user, net",
    [
        (CACHED.format("@torch.no_grad()", "{}"), ""),
        (CACHED.format("@functools.cache", "{}"), ""),
        (CACHED.format("@functools.wraps(torch.relu)", "{}"), ""),
        ("W = {}\nclass f:\n    width = W\n", ""),
        ("import functools\ndef h(): return {}\nclass f:\n    @functools.cached_property\n    def p(self): return h()\n", ""),
        ("import reached\ndef f(seed): return reached.make()\n", NET),
        ("def f(seed):\n    import reached\n    return reached.make()\n", NET),
        ("def f(seed):\n    from reached import make\n    return make()\n", NET),
    ],
)
def test_an_edit_is_seen(user, net, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # an edit within a second would leave the old one in use
    found = []
    for number in ("1", "2", "2"):
        for name, text in {"reaching": user, "reached": net}.items():
            (tmp_path / f"{name}.py").write_text(text.format(number))
            sys.modules.pop(name, None)
        found.append(fingerprint(importlib.import_module("reaching").f))
    assert found[0] != found[1] == found[2]


class Around(nn.Module):
    def __init__(self, inner, exponent=1.0, weight=1.0):
        super().__init__()
        self.inner, self._exponent = inner, exponent
        self.register_buffer("weight", torch.tensor(weight), persistent=False)


@pytest.mark.parametrize(
    "other",
    [
        Around(nn.CrossEntropyLoss(label_smoothing=0.1)),
        Around(nn.NLLLoss()),
        Around(nn.CrossEntropyLoss(), exponent=2.0),
        Around(nn.CrossEntropyLoss(), weight=2.0),
    ],
)
def test_a_module_is_what_is_in_it(other):
    one, again = Around(nn.CrossEntropyLoss()), Around(nn.CrossEntropyLoss())
    assert fingerprint(one) == fingerprint(again) != fingerprint(other)
    assert fingerprint(lambda: one) != fingerprint(lambda: other)


def test_two_functions_on_a_line_are_two():
    assert len({fingerprint(f) for f in (lambda x: x, lambda x: 2 * x)}) == 2
