"""The options of ``python -m experiments match``."""

from ..common.cli import Seeds, as_command
from ..common.study import Study


@as_command
def command(seeds: Seeds = 3) -> Study:
    """Match geometries in one KL at one point, train on at that radius, and see how long ε* becomes and what is learnt."""
    from .study import Matched

    return Matched(seeds)
