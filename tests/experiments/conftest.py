"""Coarse pictures, and races, which collect garbage before they measure, do not here: that looks at all a session has made."""

import gc

import pytest

from tests.coarse import coarse_pictures


@pytest.fixture(scope="module", autouse=True)
def _coarse():
    with coarse_pictures():
        yield


@pytest.fixture(autouse=True)
def _no_collections(monkeypatch):
    monkeypatch.setattr(gc, "collect", lambda *_: 0)
