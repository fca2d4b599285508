"""
The ball, drawn
===============

A model of two parameters, so that the ball of each geometry can be seen: where it reaches, and at which of its points the loss
rises fastest.
"""

# %%
# A logistic regression on a cloud that is long in one direction: the two weights matter unequally.
import matplotlib.pyplot as plt
import torch

import geosam
from geosam import metrics

torch.manual_seed(0)
x = torch.randn(200, 2) * torch.tensor([3.0, 0.5])
y = (x @ torch.tensor([0.5, 1.5]) + 0.5 * torch.randn(200) > 0).float()
model = torch.nn.Linear(2, 1, bias=False)
with torch.no_grad():
    model.weight[:] = torch.tensor([0.2, 0.6])
problem = geosam.Problem(model, lambda z, y: torch.nn.functional.binary_cross_entropy_with_logits(z[:, 0], y))
bound = problem.on(x, y)

# %%
# Every radius is calibrated so that ε* has the same length: then the balls differ in shape alone. To draw a ball takes its norm
# only: the point in direction u is u/‖u‖.
geometries = {
    "SAM": metrics.Euclidean(),
    "ASAM": metrics.ParameterScaled(),
    "Monge": metrics.Monge(),
    "empirical Fisher": metrics.EmpiricalFisher(),
    "its diagonal": metrics.DiagonalEmpiricalFisher(),
    "largest entry": geosam.norms.Sup(),
}
theta = model.weight.detach().flatten()
angles = torch.linspace(0, 2 * torch.pi, 181)
fig, axes = plt.subplots(2, 3, figsize=(6, 4.8), sharex=True, sharey=True, layout="constrained")
grid = torch.linspace(-0.6, 0.6, 61)
losses = torch.stack([torch.stack([bound.surface().loss([torch.tensor([[a, b]])]) for a in grid]) for b in grid])
for (name, geometry), ax in zip(geometries.items(), axes.flat, strict=True):
    rho = geosam.calibrate(bound, geometry, geosam.Length(0.3))
    norm = geometry if isinstance(geometry, geosam.Norm) else geometry.at(bound)
    gradient = geosam.observe(bound).gradient
    epsilon = geosam.solve(norm, gradient, rho).epsilon[0][0]
    ring = torch.stack([u * rho / norm.norm([u[None]]) for u in torch.stack([angles.cos(), angles.sin()], 1)])
    ax.contourf(grid, grid, losses, levels=20, cmap="Greys")
    ax.plot(*ring.T, color="tab:blue")
    ax.annotate("", epsilon.tolist(), (0, 0), arrowprops={"color": "tab:red", "width": 1.5, "headwidth": 7})
    ax.set_title(f"{name}\nρ = {rho:.2g}", fontsize=12)
    ax.set_xticks([-0.4, 0, 0.4])
    ax.set_yticks([-0.4, 0, 0.4])
    ax.set_aspect("equal")
    ax.set_xlim(-0.6, 0.6)
    ax.set_ylim(-0.6, 0.6)
fig.supxlabel("ε₁")
fig.supylabel("ε₂")
plt.show()

# %%
# Grey: the loss around θ, darker where higher. Blue: the ball. Red: ε*. The Fisher's ball is short where the predictions are
# sensitive, so that its ε* goes further in the other weight.
