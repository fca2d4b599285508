"""Pictures are drawn once, as coarse PNG: what these tests look at depends neither on resolution nor on the second form."""

import pytest

from geosam.ablation.report import page


@pytest.fixture(scope="session", autouse=True)
def _coarse():
    real = page._rendered
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "DPI", 25)
        patch.setattr(page, "_rendered", lambda figure, form: real(figure, form) if form == "png" else b"<svg/>")
        yield
