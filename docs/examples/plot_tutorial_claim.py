"""
Tutorial: is the claim of a paper true?
=======================================

From an equation to a verdict in five steps: write the claim as a number that should be zero, draw instances, let the smallest
counterexample speak, state what is true instead, and test the test. The claim is one of Fisher SAM's (Kim et al. 2022, eq. 8
and appendix B): for small ε::

    E KL(p_{θ+ε} ‖ p_θ) ≈ εᵀFε
"""

# %%
# 1. Both sides as code
# ---------------------
# KL is evaluated, not expanded; the Fisher matrix is the model's own. A softmax of three classes over one input is enough:
# its instances are a few numbers, and its Fisher matrix is known in closed form: εᵀFε is the variance of εₖx over classes k
# drawn from p, averaged over x. In float64, so that what is left over is not rounding, and without geosam: what checks a
# library should not be made of it.
import matplotlib.pyplot as plt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import geosam
from geosam import metrics

INPUTS = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
DIRECTION = torch.tensor([1.0, -0.5, 0.25], dtype=torch.float64)


def sides(weights, times):
    """(KL(p_{θ+tε} ‖ p_θ), t² εᵀFε) for each t, with ‖ε‖_F = 1."""
    old = (INPUTS * torch.tensor(weights, dtype=torch.float64)).log_softmax(1)
    p = old.exp()
    moved = INPUTS * DIRECTION
    variance = (p * moved.square()).sum(1) - (p * moved).sum(1).square()
    steps = torch.tensor(times, dtype=torch.float64)[:, None, None] * moved / variance.mean().sqrt()
    new = (old + steps).log_softmax(-1)  # logits are log p but for a constant
    kl = (new.exp() * (new - old)).sum(-1).mean(-1)
    return list(zip(kl.tolist(), [t**2 for t in times], strict=True))


for kl, square in sides([0.0, 0.0, 0.0], [1e-1, 1e-2, 1e-3]):
    print(f"KL {kl:.3e}   εᵀFε {square:.0e}")

# %%
# 2. "≈" as a number
# ------------------
# An asymptotic claim is about a limit, so that no single ε decides it. What decides is the ratio of both sides along ε → 0: it
# has to approach 1, and an error that does not shrink with t is a counterexample, however small ε is.
times = [2.0**-k for k in range(1, 13)]


def errors(weights, constant):
    """|KL / (constant · εᵀFε) − 1| at ever smaller ε."""
    return [abs(kl / (constant * square) - 1) for kl, square in sides(weights, times)]


def vanishes(found):
    """Whether the error is of first order in t: sixteen times smaller at a sixteenth of t, but for rounding."""
    return found[-1] <= 0.2 * found[-5] + 1e-7


# %%
# 3. Draw, and shrink
# -------------------
# Hypothesis draws models and, where the claim fails, looks for the simplest one. The answer is worth reading: where the weights
# are all zero nothing is special about the model, and the error is one half at every t. That is a constant, not an accident.
numbers = st.integers(-4, 4).map(lambda k: k / 2)
models = st.lists(numbers, min_size=3, max_size=3)
drawn = settings(max_examples=30, deadline=None, database=None, derandomize=True, print_blob=False)


def claim(constant):
    """A property test of KL ≈ constant · εᵀFε."""

    @drawn
    @given(models)
    def holds(weights):
        found = errors(weights, constant)
        assert vanishes(found), f"weights {weights}: error {found[-1]:.3f} at t = {times[-1]:.1e}"

    return holds


def verdict(constant):
    """What the test says of it."""
    try:
        claim(constant)()
        return "holds on all drawn instances"
    except AssertionError as refuted:
        return f"fails: {refuted}".splitlines()[0]


print("KL ≈ εᵀFε:  ", verdict(1.0))

# %%
# 4. What is true instead
# -----------------------
# The expansion of the paper stops one order early: the second-order term of log p adds −½ εᵀFε. With ½ the same test passes,
# on the same draws.
print("KL ≈ ½ εᵀFε:", verdict(0.5))

# %%
# 5. Test the test
# ----------------
# A test that passes shows nothing until it has been seen to fail. Claims altered by a little must be refused by the same check;
# were one accepted, the tolerance would be too wide to decide anything.
for constant in (0.45, 0.499, 0.501, 0.55):
    print(f"KL ≈ {constant} εᵀFε:", verdict(constant)[:5])

# %%
# The figure shows what the test sees. A claim to leading order is a line that goes down with t; the claim as printed is a line
# that does not.
fig, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
for constant, label in ((1.0, "εᵀFε, as printed"), (0.5, "½ εᵀFε"), (0.499, "0.499 εᵀFε, altered")):
    ax.loglog(times, errors([1.0, -0.5, 0.5], constant), "o-", ms=4, label=label)
ax.set_xlabel("t, the length of ε in F")
ax.set_ylabel("relative error of KL")
ax.legend()
plt.show()

# %%
# What follows from it
# --------------------
# geosam's KL and Fisher matrix on the same softmax say the same, and so the library is on the side of ½:
model = torch.nn.Linear(1, 3, bias=False).double()
with torch.no_grad():
    model.weight.zero_()
bound = geosam.Problem(model, torch.nn.CrossEntropyLoss()).on(INPUTS, torch.tensor([0, 1]))
kl = metrics.KLExact(along=metrics.Euclidean()).at(bound)
fisher = kl.local_norm(damping=0.0)
epsilon = [0.01 * DIRECTION[:, None] / fisher.norm([DIRECTION[:, None]])]
print(float(kl(epsilon)), float(fisher.norm(epsilon) ** 2 / 2))

# %%
# A γ of the paper's eq. 6, KL ≤ γ², is a ball of radius √2 γ in its eq. 8, so that the two are radii which differ by √2.
# geosam's budget is KL ≤ ρ²/2, which agrees with ‖ε‖_F ≤ ρ. ``python -m theory F2`` is this test with more of everything: a
# derivation that SymPy reduces to zero, several families of models, and the altered claim beside the claim. To add a claim of
# another paper, copy a file of ``theory/``: text, source, ``derive``, ``instance``, ``check``, and the verdict that it states.
# For geometries the laws are written already: :doc:`/laws`.
