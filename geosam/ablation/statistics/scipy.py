"""The only importer of SciPy here, when it is needed."""

from __future__ import annotations

from typing import Any


def stats() -> Any:
    """scipy.stats."""
    return _scipy().stats


def special() -> Any:
    """scipy.special, whose functions take a hundredth of the time."""
    return _scipy().special


def _scipy() -> Any:
    try:
        import scipy.special
        import scipy.stats
    except ImportError as error:
        raise ImportError("the statistics of an ablation need SciPy: pip install 'geosam[ablation]'") from error
    return scipy
