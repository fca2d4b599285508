"""
Tutorial: from SGD to a geometry of your own in one evening
===========================================================

A training loop, SAM in it, a geometry that nobody has tried, a radius that makes the comparison fair, and a verdict that says
what was shown and what was not. The network is small, so that all of it runs while you read.
"""

# %%
# 1. The loop that you have
# -------------------------
# scikit-learn's digits, 400 of them to train on, a fifth with wrong labels, and a perceptron.
import tempfile
import textwrap
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits

import geosam
from geosam import metrics
from geosam.ablation import Method, Rule
from geosam.norms import Diagonal
from geosam.testing import check_metric

pixels, labels = load_digits(return_X_y=True)
order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
x, y = torch.tensor(pixels, dtype=torch.float32)[order] / 16, torch.tensor(labels)[order]
train_x, train_y, test_x, test_y = x[:400], y[:400].clone(), x[400:], y[400:]
train_y[:80] = torch.randint(10, (80,), generator=torch.Generator().manual_seed(1))


def network(seed):
    torch.manual_seed(seed)
    first, last = torch.nn.Linear(64, 48), torch.nn.Linear(48, 10)
    return torch.nn.Sequential(first, torch.nn.ReLU(), last)


def accuracy(model):
    return (model(test_x).argmax(1) == test_y).double().mean().item()


model, loss = network(0), torch.nn.CrossEntropyLoss()
base = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for _ in range(10):
    for chosen in torch.randperm(400).split(50):
        base.zero_grad()
        loss(model(train_x[chosen]), train_y[chosen]).backward()
        base.step()
print(f"SGD: {accuracy(model):.3f}")

# %%
# 2. SAM in it
# ------------
# Three lines change: the optimizer is wrapped, a problem says what model and loss are, and ``step`` makes both passes. Give the
# base optimizer ``named_parameters()``, so that errors and metrics can say names.
model = network(0)
opt = geosam.SAM(torch.optim.SGD(model.named_parameters(), lr=0.1, momentum=0.9), rho=0.05)
problem = geosam.Problem(model, loss)
for _ in range(10):
    for chosen in torch.randperm(400).split(50):
        opt.step(problem.on(train_x[chosen], train_y[chosen]))
print(f"SAM: {accuracy(model):.3f}, and of the last step:")
for name, value in opt.last.numbers().items():
    print(f"    {name}: {value:.3g}")

# %%
# Two numbers of one seed say nothing about which is better; that is what step 5 is for.
#
# 3. A geometry of your own
# -------------------------
# ASAM scales each weight by itself, so that small weights hardly move. Here is one that scales each *tensor* by its root mean
# square: layers move in proportion to their size, weights within a layer alike. A metric is a frozen dataclass with ``local``,
# which turns an observation into a norm.


@dataclass(frozen=True)
class TensorScaled(geosam.Metric):
    """‖ε‖² = Σ_t ‖ε_t‖² / (rms(w_t) + η)²."""

    eta: float = 0.01

    def local(self, observation):
        theta = observation.parameters
        sizes = [w.detach().square().mean().sqrt() + self.eta for w in theta]
        return Diagonal(lambda i: torch.ones_like(theta[i]).detach() / sizes[i].square(), theta)


# %%
# Is it one? The laws draw networks, batches, covectors and scales, and would show the smallest case that breaks one.
check_metric(TensorScaled(), examples=10)

# %%
# 4. What it does, at a radius that is fair
# -----------------------------------------
# Equal ρ in two metrics means nothing. Matched to the same KL, all move the predictions equally far, and what is left is the
# direction. Here is the network of step 2 again, part of the way through training: ``1 − cos`` is the angle to SAM's ε*,
# ``length`` how far the weights go for that KL, ``efficiency`` what rise it buys of what is possible.
network_now = network(0)
early = torch.optim.SGD(network_now.parameters(), lr=0.1, momentum=0.9)
on_batch = geosam.Problem(network_now, loss)
for chosen in torch.arange(400).split(50):
    on_batch.on(train_x[chosen], train_y[chosen])()
    early.step()
geometries = {
    "SAM": metrics.Euclidean(),
    "ASAM": metrics.ParameterScaled(),
    "tensor-scaled": TensorScaled(),
    "Fisher SAM": metrics.GradientMagnitude(),
    "empirical Fisher": metrics.EmpiricalFisher(),
}
table = geosam.compare(on_batch.on(train_x[:50], train_y[:50]), geometries, match=geosam.KL(0.003))
print(table)

# %%
# Look at the row of Fisher SAM: as published, it is SAM. Nothing that is trained below can come out otherwise for
# it, so that it need not be trained.
#
# 5. The ablation, with the control that it needs
# ------------------------------------------------
# Paired seeds, each radius calibrated to that KL after a first epoch, and SGD with the compute of SAM as a row: two passes
# a step must beat training twice as long. The rule of the verdict is fixed before anything runs.
del geometries["Fisher SAM"]
with tempfile.TemporaryDirectory() as folder:
    results = geosam.ablate(
        network,
        (train_x, train_y),
        {"SGD, twice as long": Method(stretch=2)} | geometries,
        test=(test_x, test_y),
        seeds=range(3),
        epochs=15,
        warmup=1,
        batch=50,
        match=geosam.KL(0.003),
        rule=Rule(against="SGD, twice as long"),
        folder=folder,
    )
    frame, verdicts = results.frame(), results.verdicts()
for name, said in verdicts.items():
    print(*textwrap.wrap(f"{name}: {said}", 80, subsequent_indent="    "), sep="\n")

# %%
# 6. Reading the verdict
# ----------------------
# A line is a 95 % interval of the paired difference to SGD trained twice as long, in points. One that lies right of zero
# after Holm's correction "holds"; one across zero is not "no difference" but "not decided", and the verdict names the seeds
# that a decision would take. Lines that lie left of zero say that training longer was the better use of the same compute: a
# result too, and one that is never seen without that row. Dots are seeds.
fig, (lengths, points) = plt.subplots(2, 1, figsize=(6, 5.4), layout="constrained")
names = list(geometries)
rows = {row.name: row for row in table.rows}
lengths.barh(names, [rows[name].length for name in names], color="tab:gray")
lengths.set_xlabel("‖ε*‖₂ at KL = 0.003")
lengths.invert_yaxis()
scores = frame.pivot(index="seed", columns="method", values="accuracy") * 100
against = scores["SGD, twice as long"]
for k, name in enumerate(names):
    points.plot(scores[name] - against, [k] * len(scores), "o", color="tab:gray", alpha=0.5)
    interval = verdicts[name].interval
    points.plot([100 * interval.low, 100 * interval.high], [k, k], "-", color="tab:blue", lw=2)
    points.plot([100 * interval.mean], [k], "|", color="tab:blue", ms=14, mew=2)
points.axvline(0, color="black", lw=0.8)
points.set_yticks(range(len(names)), names)
points.set_ylim(len(names) - 0.5, -0.5)
points.set_xlabel("points of accuracy over SGD, twice as long")
plt.show()

# %%
# What next
# ---------
# - More seeds where a verdict asks for them: give ``folder`` a place of yours, and the same call with ``range(12)`` runs only
#   what is missing. ``results.report(folder)`` writes the whole page.
# - ``match=geosam.ablation.Tuned(...)`` gives each method the same number of tuning runs, not the same KL: :doc:`/ablation`.
# - Which metric, which radius, and what is known: :doc:`/choose`. A geometry with a memory or a new norm: :doc:`/own_metric`.
