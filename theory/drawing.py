"""The type of what ``draw`` draws on. No claim needs matplotlib, so only the type checker imports it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any
