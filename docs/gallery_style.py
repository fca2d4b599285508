"""How the gallery draws: type that can be read where a figure is 350 pixels wide."""

import matplotlib.pyplot as plt


def legible(gallery_conf, file):
    """Called before each example, after matplotlib's own settings are back."""
    plt.rcParams.update({"font.size": 12, "axes.titlesize": "medium", "legend.fontsize": 10})
