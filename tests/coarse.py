"""Pages whose pictures are drawn once, as coarse PNG, for tests that depend on neither resolution nor layout."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from geosam.ablation.report import page, picture, styled


@contextmanager
def coarse_pictures() -> Iterator[None]:
    """While it lasts, both layouts are one figure, without one of matplotlib's own, and SVG and PDF stay empty."""
    real = picture.rendered

    def rendered(figure, form, salt=""):
        if form != "png":
            return b"<svg/>"
        figure.set_layout_engine("none")  # to lay out takes longer than to draw
        return real(figure, form)

    def figures(picture):
        with styled():
            return dict.fromkeys(("wide", "narrow"), picture.draw())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture, "DPI", 25)
        patch.setattr(picture, "rendered", rendered)
        patch.setattr(page, "rendered", rendered)
        patch.setattr(picture.Picture, "figures", figures)
        yield
