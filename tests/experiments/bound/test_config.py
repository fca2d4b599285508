"""Bad settings are errors that name their cure."""

import pytest

from experiments.bound.config import METHODS, Config, Run, Training


def test_bad_settings_are_errors():
    with pytest.raises(ValueError, match="0 seeds are no run"):
        Config(seeds=0)
    with pytest.raises(ValueError, match="no model 'cnn'; the models are logistic, mlp"):
        Run("cnn", METHODS[0], 0)
    with pytest.raises(ValueError, match="pass one between 0 and 1"):
        Run("mlp", METHODS[0], 0, delta=1.0)
    with pytest.raises(ValueError, match="sizes and epochs must be positive"):
        Training(epochs=0)
    with pytest.raises(ValueError, match="a batch of 300 cannot be drawn from 200"):
        Training(train_size=200, batch=300)
