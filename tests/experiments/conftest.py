"""Coarse pictures: what the tests look at does not depend on their resolution."""

import pytest

from geosam.ablation.report import page


@pytest.fixture(scope="session", autouse=True)
def _coarse():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "DPI", 25)
        yield
