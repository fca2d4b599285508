"""Per-sample losses: ℓᵢ with (1/n) Σ ℓᵢ = the batch mean loss, exactly, for every reduction rule of the loss.

Class weights and ``ignore_index`` change the denominator of torch's mean: Σ w(yᵢ) over the targets that count. Then
ℓᵢ = n · (sum of sample i's unreduced entries) / denominator, so that g = (1/n) Σ ∇ℓᵢ stays true.
"""

from .abstract import Loss, SampleLoss, one_number
from .choice import canonical, sample_loss

__all__ = ["Loss", "SampleLoss", "canonical", "one_number", "sample_loss"]
