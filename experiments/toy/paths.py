"""The paper's figures 1 to 3 again, and paths on Monge SAM's banana."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from geosam.ablation.report import INK, PAPER, QUIET
from theory.toy_dynamics import METHODS, Method, iterates
from theory.toy_ends import End, landscape
from theory.toy_loss import CAPTION, OF_THE_FIGURE, ToyLoss

from .banana import Banana
from .config import LOSSES, Hunt
from .result import Found
from .style import COLOURS

PLATE = {"fc": PAPER, "ec": "none", "alpha": 0.75, "pad": 0.5}
MU, SIGMA = (-42.0, 42.0), (3.0, 52.0)


def contours(axes: Axes, loss: ToyLoss, marks: bool = True) -> None:
    """The loss, its minima (star flat, dot sharp) and its saddle (cross)."""
    mu, sigma = np.meshgrid(np.linspace(*MU, 220), np.linspace(*SIGMA, 160))
    value, land = loss.look(np.stack([mu, sigma]))[0], landscape(loss)
    low = min(float(loss.look(point)[0]) for point in (land.flat, land.sharp))
    levels = low + (land.level - low) * np.array([0.15, 0.4, 0.7, 1, 1.4, 2, 2.8, 4, 6, 9])
    axes.contour(mu, sigma, value, levels, colors="#b4b9c3", linewidths=0.6, zorder=1)
    axes.set(xlim=MU, ylim=SIGMA, aspect="equal", xlabel="μ", ylabel="σ")
    if marks:
        axes.plot(*land.flat, "*", ms=12, color=COLOURS[End.FLAT], mec=PAPER, mew=0.6, zorder=5)
        axes.plot(*land.sharp, "o", ms=7.5, color="#c2379a", mec=PAPER, mew=0.6, zorder=5)
        axes.plot(*land.saddle, "x", ms=7, color=INK, mew=1.6, zorder=5)


def figure_1() -> Figure:
    """The contours under both readings of eq. 15; circles where the paper marks its minima."""
    figure = Figure(figsize=(6.95, 2.9))
    for axes, (name, loss) in zip(figure.subplots(1, 2, sharey=True), LOSSES.items(), strict=True):
        contours(axes, loss)
        for printed in CAPTION.values():
            axes.plot(*printed[:2], "o", ms=17, mfc="none", mec=INK, mew=0.9)
        land = landscape(loss)
        for point, shift in ((land.flat, (0, 18)), (land.sharp, (17, -1)), (land.saddle, (-8, 17))):
            value, trace = float(loss.look(point)[0]), float(np.trace(loss.hessian(point)))
            text = f"({point[0]:.2f}, {point[1]:.2f})\nl = {value:.3f}, tr = {trace:.4f}"
            axes.text(*(point + shift), text.replace("-", "−"), ha="center", va="top", fontsize=8.5, color=INK, bbox=PLATE)
        title = {"the figure's": "energies KL + ½", "eq. 15 as printed": "energies KL, eq. 15 as printed"}[name]
        axes.set_title(title)
    return figure


def paths(hunts: Sequence[tuple[Hunt, Found]]) -> Figure:
    """Figure 2 or 3: a row a setting, the rival left and FSAM right."""
    figure = Figure(figsize=(6.95, 2.75 * len(hunts)))
    grid = figure.subplots(len(hunts), 2, sharex=True, sharey=True, squeeze=False)
    for row, (job, found) in zip(grid, hunts, strict=True):
        for axes, name, rho in zip(row, (job.rival, "FSAM"), (found.rival_rho, found.rho), strict=True):
            contours(axes, OF_THE_FIGURE)
            scale = _path(axes, name, found, rho, job.steps)
            axes.set_title(f"{name}, ρ = {rho:.3g}, ball × {scale:.2g}")
    return figure


def _path(axes: Axes, name: str, found: Found, rho: float, steps: int) -> float:
    """Iterates from the start; at some, spaced along the path, neighbourhood, probe and update. How they are scaled."""
    theta = np.array(found.start)[:, None]
    run = iterates(OF_THE_FIGURE, METHODS[name], theta, np.array([found.lr]), np.array([rho]))
    walk = [it for _, it in zip(range(steps), run, strict=False)]
    points = np.concatenate([it.theta for it in walk], 1)
    probes = np.concatenate([it.probe for it in walk], 1) - points
    axes.plot(*points, "-", color=INK, lw=0.7, alpha=0.55, zorder=3)
    axes.plot(*points[:, -1], "s", ms=5, mfc="none", mec=INK, mew=1, zorder=6)

    def axes_of(point: np.ndarray) -> tuple[float, float]:
        """Half the neighbourhood's width and height."""
        widths = {"SAM": (1.0, 1.0), "ASAM": (abs(point[0]), point[1]), "FSAM": (point[1], point[1] / math.sqrt(2))}[name]
        return rho * widths[0], rho * widths[1]

    scale = 6.5 / max(axes_of(points[:, 0]))
    far = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points)))])
    shown: list[int] = []
    last = -np.inf
    for k in range(steps - 1):  # a limit cycle comes back: nothing is drawn twice at one place
        apart = min((float(np.hypot(*(points[:, k] - points[:, j]))) for j in shown), default=np.inf)
        if far[k] - last >= 9 and apart >= 7:
            shown, last = [*shown, k], far[k]
    for k in shown[:7]:
        width, height = axes_of(points[:, k])
        size, centre = (2 * scale * width, 2 * scale * height), (points[0, k], points[1, k])
        ball = Ellipse(centre, *size, fc="#ffe14d", ec="#c7a500", alpha=0.55, lw=0.6)
        axes.add_patch(ball)
        step = points[:, k + 1] - points[:, k]
        arrows = ((scale * probes[:, k], "#00b7c7"), (6 * step / max(np.hypot(*step), 1e-12), "#d62728"))
        for arrow, colour in arrows:
            axes.quiver(*points[:, k], *arrow, color=colour, angles="xy", scale_units="xy", scale=1, width=0.006, zorder=4)
    axes.plot(*points[:, 0], "D", ms=7, color="#2ca02c", mec=PAPER, mew=0.7, zorder=6)
    return scale


def banana() -> Figure:
    """Paths of GD, SAM and Monge SAM on (1 − θ₁θ₂)², from the same starts about the saddle."""
    loss, rho, steps = Banana(), 0.6, 4000
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False) + 0.1
    starts = np.concatenate([radius * np.stack([np.cos(angle), np.sin(angle)]) for radius in (0.3, 0.6, 0.9)], 1)
    methods: dict[str, Method] = {name: METHODS[name] for name in ("GD", "SAM", "Monge")}
    figure = Figure(figsize=(6.95, 2.9))
    x, y = np.meshgrid(np.linspace(-2, 2, 200), np.linspace(-2, 2, 200))
    n = starts.shape[1]
    for axes, (name, method) in zip(figure.subplots(1, 3, sharey=True), methods.items(), strict=True):
        axes.contour(
            x, y, loss.look(np.stack([x, y]))[0], [0.02, 0.2, 0.6, 0.95, 1.05, 2, 4, 8], colors="#b4b9c3", linewidths=0.6
        )
        run = iterates(loss, method, starts, np.full(n, 0.01), np.full(n, rho))
        walk = np.stack([it.theta for _, it in zip(range(steps), run, strict=False)])
        late = walk[-steps // 4 :]
        held = (np.hypot(late[:, 0], late[:, 1]) < rho / 2).all(0)
        for k in range(n):
            colour = COLOURS[End.SADDLE] if held[k] else COLOURS[End.FLAT]
            axes.plot(walk[::8, 0, k], walk[::8, 1, k], "-", lw=0.9, color=colour, alpha=0.9)
        axes.plot(*starts, "o", ms=2.6, color="#2ca02c", zorder=4)
        axes.plot(0, 0, "x", ms=7, color=INK, mew=1.6, zorder=5)
        radius = "" if name == "GD" else f", ρ = {rho:g}"
        axes.set(xlim=(-2, 2), ylim=(-2, 2), aspect="equal", xlabel="θ₁")
        axes.set_title(f"{name}{radius}: {int(held.sum())} of {n} held")
    figure.axes[0].set_ylabel("θ₂", color=QUIET)
    return figure
