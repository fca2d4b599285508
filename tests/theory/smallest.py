"""The counterexample that a file stores is the one that Hypothesis shrinks to."""

from dataclasses import fields

import numpy as np
import torch
from hypothesis import Phase, find, settings


def assert_hypothesis_finds(claim, strategy, examples):
    """Of the strategy's instances, the stored one is the smallest that is judged as the claim says."""
    assert_smallest(claim.smallest, strategy, lambda drawn: claim.check(drawn).outcome is claim.outcome, examples)


def assert_smallest(stored, strategy, refutes, examples):
    """Of the strategy's instances that refute, the stored one is the smallest."""
    # The phase left out, Phase.explain, asks after shrinking what else may vary: most of the time, and for a report alone.
    phases = (Phase.generate, Phase.shrink)
    sought = settings(deadline=None, derandomize=True, database=None, max_examples=examples, phases=phases)
    found = find(strategy, refutes, settings=sought)
    assert type(found) is type(stored)
    for field in fields(found):
        ours, theirs = (getattr(drawn, field.name) for drawn in (found, stored))
        if isinstance(theirs, torch.Tensor):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
        else:
            assert np.array_equal(ours, theirs), f"found {found}, and stored is {stored}"
