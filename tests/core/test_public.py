"""A pickle of a configuration names public places only, and comes back equal; a class of one's own pickles as ever."""

import copy
import pickle
import pickletools
from dataclasses import dataclass
from pathlib import Path

import pytest

import geosam
from geosam import engines, metrics, objectives, solvers, updates
from geosam.core.public import public_place

CONFIGURATIONS = [
    metrics.Fisher(geosam.Relative(0.3), metrics.MonteCarlo(2), engine=engines.Hooks()),
    metrics.KLExact(along=metrics.BlockDiagonal(metrics.EmpiricalFisher(0.1, engines.Func(chunk_size=3)))),
    metrics.Blockwise({"*bias": (metrics.Euclidean(), 0.5), "*": (metrics.Averaged(metrics.DiagonalFisher()), 1.0)}),
    metrics.KroneckerFisher(sampling=metrics.Empirical()),
    objectives.Preconditioned(metrics.GradientMagnitude(), objectives.Smoothed(0.8)),
    solvers.MultiStep(3, 0.5),
    solvers.Radial(tolerance=0.1),
    updates.SurrogateGap(0.2),
    geosam.KL(0.1),
]


@dataclass(frozen=True)
class Own(metrics.Euclidean):
    strength: float = 2.0


@pytest.mark.parametrize("value", [*CONFIGURATIONS, Own(3.0)], ids=lambda value: type(value).__name__)
def test_it_comes_back_equal(value):
    assert pickle.loads(pickle.dumps(value)) == value == copy.deepcopy(value)


@pytest.mark.parametrize("value", CONFIGURATIONS, ids=lambda value: type(value).__name__)
def test_no_private_file_is_named(value):
    """Only packages, apart from the function that makes the blank object and updates, which are public as a module."""
    strings = [arg for _, arg, _ in pickletools.genops(pickle.dumps(value)) if isinstance(arg, str)]
    named = {name for name in strings if name.startswith("geosam.")} - {"geosam.core.public", "geosam.optim.updates"}
    assert named <= {f"geosam.{path.parent.name}" for path in Path(geosam.__file__).parent.glob("*/__init__.py")}


def test_the_nearest_package_to_the_root_is_the_place():
    assert public_place(type(geosam.Relative(0.1))) == ("geosam", "Relative")
    assert public_place(metrics.Fisher) == ("geosam.metrics", "Fisher")
    assert public_place(Own) is None


def test_a_local_class_can_be_copied():
    @dataclass(frozen=True)
    class Local(geosam.Metric):
        strength: float = 1.0

        def local(self, observation):
            return geosam.norms.Identity(observation.parameters)

    assert copy.deepcopy(Local(2.0)) == Local(2.0)


@dataclass(frozen=True, slots=True)
class Slotted(geosam.Metric):
    strength: float = 1.0

    def local(self, observation):
        return geosam.norms.Identity(observation.parameters)


class Stateful(geosam.metrics.Euclidean):
    """With a way of its own to be copied."""

    k: int

    def __init__(self, k):
        object.__setattr__(self, "k", k)

    def __getstate__(self):
        return (self.k,)

    def __setstate__(self, state):
        object.__setattr__(self, "k", state[0])


def test_a_class_of_one_s_own_keeps_its_way_to_be_copied():
    assert copy.deepcopy(Slotted(3.0)).strength == pickle.loads(pickle.dumps(Slotted(3.0))).strength == 3.0
    assert copy.deepcopy(Stateful(4)).k == pickle.loads(pickle.dumps(Stateful(4))).k == 4
