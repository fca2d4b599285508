"""Packages show what is public, and a name from a paper or another library is an error that says what to write."""

import inspect
import re
from operator import attrgetter
from types import ModuleType

import pytest

import geosam
from geosam import metrics, objectives, updates
from geosam.core.names import _HERE

ROOMS = [geosam, *(thing for name in dir(geosam) if isinstance(thing := getattr(geosam, name), ModuleType))]


def test_what_is_shown_is_public_and_has_words():
    shown = [(room, name) for room in ROOMS for name in dir(room)]
    assert len(shown) > 120
    for room, name in shown:
        thing = getattr(room, name)
        alias = getattr(thing, "__origin__", None) is not None  # Callable[...] and the like hold no words
        assert not name.startswith("_") and (alias or inspect.getdoc(thing)), (room, name)
        assert not isinstance(thing, ModuleType) or thing.__name__.startswith("geosam."), (room, name)


@pytest.mark.parametrize("name", _HERE)
def test_what_a_name_is_here_is_there(name):
    for room in (geosam, metrics, objectives, updates):
        if not hasattr(room, name):
            with pytest.raises(AttributeError, match=f"{name!r}; it is ") as said:
                getattr(room, name)
            for place in re.findall(r"geosam\.([\w.]+)", str(said.value).partition("; it is ")[2]):
                assert attrgetter(place)(geosam) is not None


def test_nonsense_is_an_ordinary_error():
    with pytest.raises(AttributeError, match=r"module 'geosam.metrics' has no attribute 'nonsense'$"):
        attrgetter("nonsense")(metrics)
