"""What an object prints is short, and is how it is written."""

from collections import ChainMap
from dataclasses import dataclass

import pytest
import torch

import geosam
from geosam import metrics, norms
from geosam.core import Brief, brief


@pytest.mark.parametrize(
    "written",
    [
        "metrics.EmpiricalFisher()",
        "metrics.EmpiricalFisher(damping=0.01)",
        "metrics.KLExact(along=metrics.Fisher(sampling=metrics.MonteCarlo(2)))",
        "metrics.Averaged(metrics.GradientMagnitude(), decay=0.5)",
        "geosam.Relative(0.01)",
        "geosam.KL(0.5)",
        "norms.Sup()",
        "geosam.solvers.Radial(tolerance=0.1)",
        "geosam.updates.SurrogateGap(0.1)",
    ],
)
def test_it_prints_as_it_is_written(written):
    """So that code which prints can be pasted."""
    names = {"metrics": metrics, "norms": norms, "geosam": geosam}
    short = repr(thing := eval(written, names))
    bare = [vars(m) for m in (geosam, geosam.solvers, geosam.updates, norms, metrics)]
    again = eval(short, dict(ChainMap(*bare)))
    assert again == thing or (type(again) is type(thing) and repr(again) == short)
    assert len(short) <= len(written)


def test_tensors_modules_and_functions_are_told_in_a_word():
    model = torch.nn.Linear(3, 2)
    bound = geosam.Problem(model, torch.nn.CrossEntropyLoss()).on(torch.zeros(5, 3), torch.zeros(5).long())
    assert repr(bound) == "Bound(Linear, CrossEntropyLoss, tensor[5, 3], tensor[5])"
    assert len(repr(geosam.observe(bound))) < 150
    assert len(repr(norms.Diagonal(lambda i: torch.ones(3), [torch.ones(3)]))) < 100
    assert brief([torch.ones(2)] * 9) == "[9 tensors]" and brief(test_float_is_exact) == "test_float_is_exact"
    assert brief({"a": (1,)}) == "{'a': (1,)}" and brief(object()) == "object"


def test_float_is_exact():
    assert repr(metrics.EmpiricalFisher(1 / 3)) == f"EmpiricalFisher(damping={1 / 3!r})"


def test_what_a_class_prints_itself_stays():
    @dataclass
    class Own(Brief):
        x: int = 1

        def __repr__(self):
            return "mine"

    @dataclass
    class Heir(Own):
        y: int = 2

    assert repr(Own()) == repr(Heir(y=3)) == "mine"
