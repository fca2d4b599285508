"""What is said where a library is missing that an extra of this package installs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra(name: str, why: str, instead: str = "") -> Iterator[None]:
    """Around the import of what ``pip install 'geosam[name]'`` brings. Raises: ImportError, why it is needed and that line."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{why}: pip install 'geosam[{name}]'{instead}") from error
