"""
What a Fisher approximation buys
================================

How much first-order rise an approximation of the Fisher matrix gets for a KL, against what it costs. Efficiency 1 is the exact
one.
"""

# %%
# A perceptron after a little training, and one batch.
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits

import geosam
from geosam import metrics
from geosam.metrics import MonteCarlo

torch.manual_seed(0)
digits = load_digits()
x = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)
model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
problem = geosam.Problem(model, torch.nn.CrossEntropyLoss())
sgd = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(60):
    batch = slice(16 * step, 16 * step + 16)
    problem.on(x[batch], y[batch])()
    sgd.step()

# %%
# A small budget, where first order decides; one damping relative to each matrix's own mean diagonal.
damping = geosam.Relative(1e-3)
approximations = {
    "SAM": metrics.Euclidean(),
    "ḡ², as published": metrics.GradientMagnitude(),
    "diagonal, data's labels": metrics.DiagonalEmpiricalFisher(damping),
    "diagonal, model's labels": metrics.DiagonalFisher(damping),
    "full, data's labels": metrics.EmpiricalFisher(damping),
    "full, one sampled label": metrics.Fisher(damping, sampling=MonteCarlo(1)),
    "Kronecker factors": metrics.KroneckerFisher(damping),
    "full, exact": metrics.Fisher(damping),
}
compared = geosam.compare(problem.on(x[1000:1064], y[1000:1064]), approximations, match=geosam.KL(1e-5))
print(compared)

# %%
fig, ax = plt.subplots(figsize=(6, 5), layout="constrained")
for k, row in enumerate(compared.rows):
    ax.plot(1000 * row.seconds, row.efficiency, "o", color=f"C{k}", label=row.name)
ax.set_xscale("log")
ax.xaxis.set_minor_formatter("")
ax.set_xlabel("milliseconds to observe and solve")
ax.set_ylabel("efficiency ⟨g, ε*⟩ / (‖g‖ √(2 KL))")
fig.legend(loc="outside lower center", ncols=2)
plt.show()
