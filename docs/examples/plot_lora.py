"""
Fine-tuning by low-rank adapters
================================

Only the adapters are trained, so only they are perturbed. For B A the scale that ρ is measured in matters: A and B may trade a
factor without any change of the network, and a Euclidean ball sees it while a Fisher ball does not.
"""

# %%
# A frozen layer with an adapter, as torch's own parametrisations do it.
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn.utils import parametrize

import geosam
from geosam import metrics


class LowRank(nn.Module):
    """W + B A, with W frozen."""

    def __init__(self, rows, columns, rank=4, factor=1.0):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.a = nn.Parameter(torch.randn(rank, columns, generator=generator) / columns**0.5 * factor)
        self.b = nn.Parameter(torch.randn(rows, rank, generator=generator) / rank**0.5 / factor)

    def forward(self, weight):
        return weight + self.b @ self.a


def adapted(factor):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 5))
    for p in model.parameters():
        p.requires_grad = False
    for layer in (model[0], model[2]):
        parametrize.register_parametrization(layer, "weight", LowRank(*layer.weight.shape, factor=factor))
    return model


# %%
# The same network, written with A ten times larger and B ten times smaller: how much does ε* of radius ρ change its outputs?
torch.manual_seed(2)
x, y = torch.randn(64, 20), torch.randint(5, (64,))
factors = [0.1, 0.3, 1.0, 3.0, 10.0]
geometries = {"Euclidean": metrics.Euclidean(), "empirical Fisher": metrics.EmpiricalFisher(damping=1e-6)}
spent = {}
for name, metric in geometries.items():
    bounds = [geosam.Problem(adapted(f), nn.CrossEntropyLoss()).on(x, y) for f in factors]
    rho = geosam.calibrate(bounds[2], metric, geosam.KL(1e-3))
    spent[name] = [geosam.compare(b, {name: metric}, rho=rho).rows[0].kl for b in bounds]
    print(name, [f"{kl:.2g}" for kl in spent[name]])

# %%
fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name, values in spent.items():
    ax.loglog(factors, values, marker="o", label=name)
ax.set_xlabel("factor on A, and 1/factor on B")
ax.set_ylabel("KL that ε* spends (nats)")
ax.legend()
plt.show()
