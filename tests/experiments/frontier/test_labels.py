"""Names beside points."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.frontier.labels import name_points


def test_names_hide_neither_points_nor_names():
    figure = Figure(figsize=(4, 3))
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    points = [(0.5, 0.5 + 0.01 * k) for k in range(6)]
    axes.plot(*zip(*points, strict=True), "o")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    canvas.draw()
    name_points(axes, [f"name {k}" for k in range(6)], points, ["black"] * 6)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert not any(box.contains(*axes.transData.transform(point)) for box in boxes for point in points)
    assert all(axes.get_window_extent().count_contains(box.corners()) == 4 for box in boxes)
