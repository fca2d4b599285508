"""The only importer of scipy.stats, when it is needed."""

from __future__ import annotations

from typing import Any


def stats() -> Any:
    """scipy.stats."""
    try:
        from scipy import stats
    except ImportError as error:
        raise ImportError("the statistics of an ablation need SciPy: pip install 'geosam[ablation]'") from error
    return stats
