"""
Sharpness before and after
==========================

Does training with SAM end where the loss is flatter, and in which geometry? Three measures of sharpness along two runs.
"""

# %%
# One network trained twice from the same start.
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits

import geosam
from geosam import metrics

digits = load_digits()
x = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)
batches = list(zip(x[:960].split(64), y[:960].split(64), strict=True))
probes = {}
for name, rho in (("SGD", 0.0), ("SAM", 0.2)):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10))
    problem = geosam.Problem(model, torch.nn.CrossEntropyLoss())
    opt = geosam.SAM(torch.optim.SGD(model.named_parameters(), lr=0.5), rho=rho)
    probes[name] = []
    for epoch in range(13):
        if epoch % 3 == 0:
            bound = problem.on(x[:256], y[:256])
            found = [
                geosam.sharpness(bound, m, 0.1, samples=20, steps=3) for m in (metrics.Euclidean(), metrics.ParameterScaled())
            ]
            probes[name].append(found)
        for batch in batches:
            opt.step(problem.on(*batch))

# %%
# The last of SAM's, in the Euclidean ball and in ASAM's:
print(probes["SAM"][-1][0], probes["SAM"][-1][1], sep="\n\n")

# %%
fig, axes = plt.subplots(3, 1, figsize=(5.5, 7.5), layout="constrained")
for ax, measure in zip(axes, ("average", "worst", "eigenvalue"), strict=True):
    for name, color in (("SGD", "tab:blue"), ("SAM", "tab:orange")):
        for place, (geometry, style) in enumerate((("Euclidean", "-"), ("ASAM", "--"))):
            values = [getattr(found[place], measure) for found in probes[name]]
            ax.semilogy(range(0, 13, 3), values, style, color=color, label=f"{name}, {geometry} ball")
    ax.set_title(measure)
    ax.set_xlabel("epoch")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
plt.show()
