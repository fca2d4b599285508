"""Torch's stacks are set back whatever was left on them."""

import warnings

import pytest
import torch
from torch.autograd import forward_ad
from torch.autograd.graph import disable_saved_tensors_hooks, saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import BaseTorchFunctionMode

from geosam.core.stacks import Stacks, Watch
from tests.moments import stacks

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch's, of what its forward mode imports
    from torch._decomp import decompositions_for_jvp  # noqa: F401


def identity(t):
    return t


class Level:
    """A level of torch.func, or a switch, that nothing leaves."""

    def __init__(self, enter, *args):
        self.enter, self.args = enter, args

    def __enter__(self):
        self.enter(*self.args)


CONTEXTS = {
    "grad mode": lambda: torch.no_grad(),
    "forward mode": lambda: forward_ad.dual_level(),
    "function mode": BaseTorchFunctionMode,
    "dispatch mode": Watch,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "saved tensors": lambda: saved_tensors_hooks(identity, identity),
    "no saved tensors": lambda: disable_saved_tensors_hooks("no"),
    "attention": lambda: sdpa_kernel(SDPBackend.MATH),
    "kernels": lambda: Level(torch._C._set_mkldnn_enabled, False),
    "warnings": warnings.catch_warnings,
    "vmap": lambda: Level(torch._C._functorch._vmap_increment_nesting, 3, "error"),
    "batched gradients": lambda: Level(torch._C._vmapmode_increment_nesting),
    "gradient": lambda: Level(torch._C._functorch._grad_increment_nesting),
    "forward transform": lambda: Level(torch._functorch.eager_transforms.enter_jvp_nesting),
}


def left_open(names):
    """The contexts, entered and never left."""
    held = [CONTEXTS[name]() for name in names]
    for context in held:
        context.__enter__()
        if isinstance(context, warnings.catch_warnings):
            warnings.simplefilter("ignore")
    return held


ORDINARY = [name for name in CONTEXTS if name != "saved tensors"]  # torch has either these hooks or none


@pytest.mark.parametrize("names", [*([name] for name in CONTEXTS), ORDINARY[:9], ORDINARY[9:]], ids=repr)
def test_what_was_left_open_is_closed(names):
    before, stacked = stacks(), Stacks()
    held = left_open(names)  # as long as they are held no destructor closes them
    stacked.restore()
    stacked.restore()
    assert held and stacks() == before and vars(Stacks()) == vars(stacked)
    torch.rand(2)
    torch.func.jvp(torch.sin, (torch.ones(2),), (torch.ones(2),))


def test_half_of_an_entry_is_undone():
    stacked = Stacks()
    torch._C._enter_dual_level()  # a signal before torch's own count
    stacked.restore()
    with forward_ad.dual_level():
        pass
