"""The smallest training that the bounds can be taken of."""

from experiments.bound.config import METHODS, Run, Training

TINY = Training(train_size=200, aside=300, components=3, hidden=3, batch=100, epochs=2)
MLP = [Run("mlp", method, 0, TINY, draws=20) for method in METHODS]
