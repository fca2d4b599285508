"""Names beside points, where they hide neither a point nor another name."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from geosam.ablation.report import PAPER

_TURNS = [k * math.pi / 8 for k in (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6, 7, -7, 8)]
_REACH = (6.0, 11.0, 17.0, 24.0, 32.0, 42.0, 54.0)


def name_points(
    axes: Axes,
    names: Sequence[str],
    points: Sequence[tuple[float, float]],
    colours: Sequence[str],
    size: float = 8.5,
    avoid: Sequence[tuple[float, float]] = (),
) -> None:
    """Each name at the nearest free place around its point, with a line to it where that is not next to it.

    The figure must have its final layout: places are found in pixels, and kept in data coordinates for any resolution.
    avoid: further points that no name may hide.
    """
    per_point = axes.figure.dpi / 72
    pixels = [axes.transData.transform(point) for point in points]
    taken = [
        Bbox.from_bounds(x - 3 * per_point, y - 3 * per_point, 6 * per_point, 6 * per_point)
        for x, y in [*pixels, *(axes.transData.transform(point) for point in avoid)]
    ]
    frame, back = axes.get_window_extent(), axes.transData.inverted()
    for name, (x, y), colour in sorted(zip(names, pixels, colours, strict=True), key=lambda item: -item[1][1]):
        at_point = back.transform((x, y))
        text = axes.text(at_point[0], at_point[1], name, fontsize=size, color=colour, va="center", ha="center", zorder=5)
        width, height = text.get_window_extent().size
        text.set_bbox({"fc": PAPER, "ec": "none", "alpha": 0.7, "pad": 0.5})
        best, where, reach = math.inf, (x, y), 0.0
        for distance in _REACH:
            for turn in _TURNS:
                cx = x + math.cos(turn) * (distance * per_point + width / 2)
                cy = y + math.sin(turn) * (distance * per_point + height / 2)
                box = Bbox.from_bounds(cx - width / 2, cy - height / 2, width, height)
                cost = sum(_shared(box, other) for other in taken) + 4 * (width * height - _shared(box, frame))
                if cost < best - 1e-6:
                    best, where, reach = cost, (cx, cy), distance
            if best <= 1e-6:
                break
        text.set_position(tuple(back.transform(where)))
        taken.append(Bbox.from_bounds(where[0] - width / 2, where[1] - height / 2, width, height))
        if reach > _REACH[1]:
            end = (
                min(max(x, where[0] - width / 2), where[0] + width / 2),
                min(max(y, where[1] - height / 2), where[1] + height / 2),
            )
            axes.plot(*back.transform([(x, y), end]).T, color=colour, lw=0.5, alpha=0.6, zorder=1)


def _shared(a: Bbox, b: Bbox) -> float:
    width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
    return width * height if width > 0 and height > 0 else 0.0
