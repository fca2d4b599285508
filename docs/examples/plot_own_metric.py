"""
A metric of one's own, with a memory
====================================

Adam divides by √v̂, a running average of squared gradients. Read as a geometry, that is a diagonal metric with a memory. Twenty
lines, and the laws check it.
"""

# %%
# A field with a memory writes ``step(observation, state)`` and returns the norm and the next state. A list in the state has an
# entry a parameter and follows its parameter; the optimizer keeps it and puts it into its checkpoint.
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch

import geosam
from geosam import metrics
from geosam.norms import Diagonal
from geosam.observation import Remembering
from geosam.testing import check_metric


@dataclass(frozen=True)
class AdamScaled(Remembering, geosam.Metric):
    """G = diag(√v̂ + δ), v̂ the bias-corrected running average of g²."""

    decay: float = 0.99
    delta: float = 1e-3

    def step(self, observation, state):
        squares = [g.detach().square() for g in observation.gradient]
        old = state.get("v", [None] * len(squares))
        v = [s * (1 - self.decay) if o is None else o.lerp(s, 1 - self.decay) for o, s in zip(old, squares, strict=True)]
        count = state.get("count", 0) + 1
        roots = [(t / (1 - self.decay**count)).sqrt() + self.delta for t in v]
        return Diagonal.of(roots), {"v": v, "count": count}


check_metric(AdamScaled(), examples=20)

# %%
# A wrong one is found out, in a few lines. Here the running average is handed out itself, and the norm divides into it.


@dataclass(frozen=True)
class Wrong(AdamScaled):
    def step(self, observation, state):
        squares = [g.detach().square() + self.delta for g in observation.gradient]
        return Diagonal(lambda i: squares[i], observation.parameters), {"v": squares}  # entries(i) must be a new tensor


try:
    check_metric(Wrong(), examples=20)
except AssertionError as error:
    print(error)

# %%
# In training it is one argument. Its direction turns from SAM's own as the memory fills.
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(20, 40), torch.nn.ReLU(), torch.nn.Linear(40, 5))
problem = geosam.Problem(model, torch.nn.CrossEntropyLoss())
x, y = torch.randn(256, 20), torch.randint(5, (256,))
opt = geosam.SAM(torch.optim.SGD(model.named_parameters(), lr=0.1), metric=AdamScaled(), rho=0.05)
angles = []
for step in range(60):
    bound = problem.on(x[step % 4 :: 4], y[step % 4 :: 4])
    gradient = geosam.observe(bound).gradient
    with opt.perturbed(bound) as p:
        pairs = list(zip(p.epsilon, gradient, strict=True))
        dot, lengths = (
            sum((e * g).sum() for e, g in pairs),
            [sum(t.square().sum() for t in v) for v in zip(*pairs, strict=True)],
        )
        angles.append((dot / (lengths[0] * lengths[1]).sqrt()).item())
    opt.step(bound)

fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.plot(angles)
ax.set_xlabel("step")
ax.set_ylabel("cosine between ε* and SAM's")
plt.show()

# %%
# Beside the others, at matched KL:
print(geosam.compare(bound, [metrics.Euclidean(), AdamScaled(), metrics.EmpiricalFisher()], match=geosam.KL(1e-3)))
