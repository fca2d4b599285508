"""What a job counts, and where the hunt searches."""

import numpy as np

from experiments.toy.config import OWN, Chunk, Config, Settings
from experiments.toy.run import axes, count
from experiments.toy.summary import digits
from theory.toy_dynamics import METHODS
from theory.toy_ends import ends
from theory.toy_loss import OF_THE_FIGURE


def test_a_chunk_says_where_each_method_ends():
    job = Chunk("the figure's", OWN, 3, 5, Settings(steps=80))
    theta, lr, rho = job.settings.draw(OF_THE_FIGURE, 3, 5)
    found = count(job).ends
    for name, method in METHODS.items():
        assert (digits(found[name]) == ends(OF_THE_FIGURE, method, theta, lr, rho, 80)).all()


def test_the_grid_of_a_hunt_holds_no_setting_twice():
    for job in Config().hunts():
        assert all((np.diff(axis) > 1e-9).all() for axis in axes(job))
