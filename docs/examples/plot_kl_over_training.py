"""
What a radius spends over training
==================================

A radius calibrated once keeps its meaning only in its own metric. Here five geometries start training with the same KL, and the
KL that their ε* really spends is measured at every epoch.
"""

# %%
# The digits, a small perceptron, and four epochs of warm-up.
import copy

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits

import geosam
from geosam import metrics

torch.manual_seed(0)
digits = load_digits()
x = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)
batches = list(zip(x[:1280].split(64), y[:1280].split(64), strict=True))
start = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
loss = torch.nn.CrossEntropyLoss()
sgd = torch.optim.SGD(start.parameters(), lr=0.1)
for batch in batches * 4:
    geosam.Problem(start, loss).on(*batch)()
    sgd.step()

# %%
# Every method trains from the same weights; after each epoch ε* is solved for on one batch that none of them trains on.
probe = x[1280:1408], y[1280:1408]
methods = {
    "SAM": metrics.Euclidean(),
    "ASAM": metrics.ParameterScaled(),
    "Fisher SAM as published": metrics.GradientMagnitude(),
    "empirical Fisher": metrics.EmpiricalFisher(),
    "Kronecker factors": metrics.KroneckerFisher(),
    "KL itself": metrics.KLExact(along=metrics.Euclidean()),
}
spent, lengths = {}, {}
for name, metric in methods.items():
    model = copy.deepcopy(start)
    problem = geosam.Problem(model, loss)
    rho = geosam.calibrate(problem.on(*probe), metric, geosam.KL(0.001))
    opt = geosam.SAM(torch.optim.SGD(model.named_parameters(), lr=0.1), metric=metric, rho=rho)
    spent[name], lengths[name] = [], []
    for _ in range(12):
        row = geosam.compare(problem.on(*probe), {name: metric}, rho=rho).rows[0]
        spent[name].append(row.kl)
        lengths[name].append(row.length)
        for batch in batches:
            opt.step(problem.on(*batch))

# %%
fig, axes = plt.subplots(2, 1, figsize=(6, 6.4), layout="constrained")
for ax, values, label in zip(axes, (spent, lengths), ("KL that ε* spends (nats)", "‖ε*‖₂"), strict=True):
    for name, line in values.items():
        dashed = "--" if name == "Fisher SAM as published" else "-"  # it lies on SAM's line
        ax.semilogy(line, dashed, marker="o", markersize=4, label=name)
    ax.set_xlabel("epochs after the calibration")
    ax.set_title(label)
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plt.show()

# %%
# KL itself stays where it was put. Fisher SAM with the published settings lies on SAM's line: it is SAM. The others drift, each
# in its own direction, so that "the same ρ" compares different things at different times. And equal KL is not equal length:
# along Kronecker factors ε* is several times as long as SAM's from the first step on.
