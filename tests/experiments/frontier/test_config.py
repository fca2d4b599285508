"""Bad settings are errors that name their cure."""

import pytest

from experiments.common.training import Training
from experiments.frontier.config import Config, Looks, Run
from experiments.frontier.methods import METHODS


def test_bad_settings_are_errors():
    with pytest.raises(ValueError, match="no network 'vit'; the networks are cnn, mlp"):
        Run("vit", 0, METHODS, Training(), Looks())
    with pytest.raises(ValueError, match="different epochs in order"):
        Looks(epochs=(4, 1))
    with pytest.raises(ValueError, match="every KL positive"):
        Looks(kls=(0.0,))
    with pytest.raises(ValueError, match="lies after the 8 epochs"):
        Config(training=Training(epochs=8, warmup=0))
