"""The only importer of SciPy here, when it is needed."""

from __future__ import annotations

from typing import Any

from ...core import extra


def stats() -> Any:
    """scipy.stats."""
    return _scipy().stats


def special() -> Any:
    """scipy.special, whose functions take a hundredth of the time."""
    return _scipy().special


def _scipy() -> Any:
    with extra("ablation", "the statistics of an ablation need SciPy"):
        import scipy.special
        import scipy.stats
    return scipy
