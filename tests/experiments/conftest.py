"""Pictures are drawn once, as coarse PNG: these tests depend on neither resolution nor layout.

Races, which collect garbage before they measure, do not here: a collection looks at all that a session has made.
"""

import gc

import pytest

from geosam.ablation.report import page, picture, styled


@pytest.fixture(scope="session", autouse=True)
def _coarse():
    real = picture.rendered

    def rendered(figure, form, salt=""):
        return real(figure, form) if form == "png" else b"<svg/>"

    def figures(picture):
        with styled():
            return dict.fromkeys(("wide", "narrow"), picture.draw())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture, "DPI", 25)
        patch.setattr(picture, "rendered", rendered)
        patch.setattr(page, "rendered", rendered)
        patch.setattr(picture.Picture, "figures", figures)
        yield


@pytest.fixture(autouse=True)
def _no_collections(monkeypatch):
    monkeypatch.setattr(gc, "collect", lambda: 0)
