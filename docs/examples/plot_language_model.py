"""
A language model
================

A small transformer that predicts the next character. Its loss is a mean over tokens, its samples are sentences, and the full
empirical Fisher of it costs little more than SAM.
"""

# %%
# Characters of a short text, in windows of 32.
import matplotlib.pyplot as plt
import torch
from torch import nn

import geosam
from geosam import metrics

torch.manual_seed(0)
TEXT = (
    "Two roads to one hill: the short is steep, the long is mild. Who climbs the short road sees the valley early; who walks "
    "the long road sees it longer. A ball around a point asks how far, and the shape of the ball says in which road's measure. "
) * 6
letters = sorted(set(TEXT))
codes = torch.tensor([letters.index(c) for c in TEXT])
windows = codes[: len(codes) // 33 * 33].view(-1, 33)


class Transformer(nn.Module):
    """One block with a causal mask."""

    def __init__(self, size=32):
        super().__init__()
        self.embed, self.place = nn.Embedding(len(letters), size), nn.Embedding(32, size)
        self.block = nn.TransformerEncoderLayer(size, 2, 64, dropout=0.0, batch_first=True)
        self.head = nn.Linear(size, len(letters))
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(32))

    def forward(self, tokens):
        z = self.embed(tokens) + self.place.weight
        z = self.block(z, src_mask=self.mask, is_causal=True)
        return self.head(z).transpose(1, 2)  # [windows, letters, positions], as torch's cross-entropy reads it


# %%
# A few steps with the full empirical Fisher. A row of it is a whole window.
model = Transformer()
problem = geosam.Problem(model, nn.CrossEntropyLoss())
opt = geosam.SAM(torch.optim.Adam(model.named_parameters(), lr=3e-3), metric=metrics.EmpiricalFisher(), rho=0.05)
bound = problem.on(windows[:, :-1], windows[:, 1:])
for _ in range(20):
    opt.step(bound)
print(opt.last.numbers())

# %%
# How each layer's rows are had, and why:
print(bound.explain(metrics.EmpiricalFisher()))

# %%
# Which layers ε* goes to, at matched KL:
compared = geosam.compare(
    bound,
    {"SAM": metrics.Euclidean(), "ASAM": metrics.ParameterScaled(), "empirical Fisher": metrics.EmpiricalFisher()},
    match=geosam.KL(1e-3),
)
print(compared)

# %%
layers = list(compared.rows[0].share)
fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for k, row in enumerate(compared.rows):
    ax.barh([i + 0.27 * (1 - k) for i in range(len(layers))], [row.share[layer] for layer in layers], 0.25, label=row.name)
ax.set_yticks(range(len(layers)), layers)
ax.invert_yaxis()
ax.set_xlabel("share of ‖ε*‖²")
ax.legend()
plt.show()
