"""
Wrong labels
============

With 40 % of the training labels wrong, plain SGD learns them by heart. What does a second pass at θ + ε* change, and does the
geometry of the ball matter?
"""

# %%
# An ablation: a function of the seed that makes the network, data, and a geometry a name. All radii spend the same KL after one
# epoch of warm-up, and SGD is trained twice as long, which is what SAM's second pass costs.
import tempfile

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits

import geosam
from geosam import metrics
from geosam.ablation import Method

digits = load_digits()
x = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)
generator = torch.Generator().manual_seed(0)
wrong = torch.rand(600, generator=generator) < 0.4
noisy = torch.where(wrong, torch.randint(10, (600,), generator=generator), y[:600])


def network(seed):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))


methods = {
    "SGD, twice as long": Method(stretch=2),
    "SAM": metrics.Euclidean(),
    "ASAM": metrics.ParameterScaled(),
    "empirical Fisher": metrics.EmpiricalFisher(),
}
with tempfile.TemporaryDirectory() as folder:
    results = geosam.ablate(
        network,
        (x[:600], noisy),
        methods,
        test=(x[600:], y[600:]),
        seeds=range(3),
        epochs=15,
        warmup=1,
        batch=60,
        match=geosam.KL(0.003),
        folder=folder,
    )
print(results)

# %%
# Three seeds decide little: the verdicts say so, and how many would. The points:
frame = results.frame()
fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for k, name in enumerate(methods):
    scores = frame[frame.method == name].accuracy
    ax.plot([k] * len(scores), 100 * scores, "o", alpha=0.5)
    ax.plot([k], [100 * scores.mean()], "k_", markersize=22)
ax.set_xticks(range(len(methods)), methods)
ax.set_ylabel("test accuracy (%)")
plt.show()
