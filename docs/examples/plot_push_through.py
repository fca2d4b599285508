"""
Why the full empirical Fisher is accurate in float32
====================================================

The batch gradient lies in the row space of the per-sample Jacobian J, where (F + λI)⁻¹ is large. Solving for its n coordinates
there (push-through) keeps float32's digits at any damping; rounding the gradient first and applying Woodbury's formula does
not.
"""

# %%
# Forty rows in 2,000 dimensions, as an engine would capture them.
import matplotlib.pyplot as plt
import torch

from geosam.norms import LowRank
from geosam.rows import Materialised

generator = torch.Generator().manual_seed(0)
jacobian = torch.randn(40, 2000, generator=generator) * torch.logspace(0, -1, 2000)
ones = torch.full((40,), 1 / 40)


# %%
# The float64 truth, the textbook formula in float32, and geosam's norm applied to the gradient that remembers its coordinates.
def truth(damping):
    j = jacobian.double()
    return j.T @ torch.linalg.solve(
        j @ j.T + 40 * damping * torch.eye(40, dtype=torch.float64), torch.ones(40, dtype=torch.float64)
    )


def woodbury(damping):
    g = jacobian.T @ ones
    inner = torch.linalg.solve(jacobian @ jacobian.T + 40 * damping * torch.eye(40), jacobian @ g)
    return (g - jacobian.T @ inner) / damping


def push_through(damping):
    rows = Materialised([jacobian])
    return LowRank(rows, damping).sharp(rows.pull(ones))[0]


dampings = [10.0**k for k in range(-8, 1)]
errors = {
    f.__name__: [((f(d).double() - truth(d)).norm() / truth(d).norm()).item() for d in dampings]
    for f in (woodbury, push_through)
}
for name, values in errors.items():
    print(name, [f"{v:.1e}" for v in values])

# %%
fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for name, values in errors.items():
    ax.loglog(dampings, values, marker="o", label=name.replace("_", "-"))
ax.set_xlabel("damping λ")
ax.set_ylabel("relative error of (F + λI)⁻¹g in float32")
ax.legend()
plt.show()
