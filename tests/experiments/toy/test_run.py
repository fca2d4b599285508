"""What a job counts, and what the hunt finds."""

import numpy as np

from experiments.toy.config import OWN, Chunk, Config, Settings
from experiments.toy.result import Found
from experiments.toy.run import axes, count, hunt, reached
from experiments.toy.summary import digits
from theory.toy_dynamics import METHODS
from theory.toy_ends import End, ends
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


def test_what_the_hunt_finds_ends_as_wanted():
    for job in Config(thin=4).hunts():
        found = hunt(job)
        if not found.of:
            assert found.depth == 0
            continue
        theta, lr = np.array(found.start)[:, None], np.array([found.lr])
        mine = ends(OF_THE_FIGURE, METHODS["FSAM"], theta, lr, np.array([found.rho]), job.steps)
        rival = ends(OF_THE_FIGURE, METHODS[job.rival], theta, lr, np.array([found.rival_rho]), job.steps)
        wanted = (End.FLAT, End.SHARP) if job.won else (End.SHARP, End.FLAT)
        assert reached(mine, wanted[0], found.strict)[0] and reached(rival, wanted[1], found.strict)[0]
        assert job.figure == 2 or abs(found.start[0]) <= 5
        assert isinstance(found, Found) and found.depth >= 1
