"""Multinomial logistic regression without the softmax's null directions."""

from __future__ import annotations

from torch import Tensor, nn


class PinnedLogistic(nn.Module):
    """The last class's logit is fixed at zero, so that no shift of all logits is left."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, classes - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, the last one zero."""
        return nn.functional.pad(self.linear(x), (0, 1))
