"""Is ε* the same, bit for bit, in two checkouts? ``python tests/same_numbers.py OLD NEW`` compares them on a fixed zoo.

Only names of the public contract are used, so that any two commits can be compared. One line a case; exit status 1 if any
digest differs.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys


def digest(tensors):
    """SHA-256 of the bytes, 12 digits."""
    import torch

    total = hashlib.sha256()
    for t in tensors:
        total.update(torch.as_tensor(t).detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:12]


def networks():
    import torch
    from torch import nn

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.position = nn.Linear(8, 16), nn.Parameter(torch.randn(6, 16) * 0.1)
            self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
            self.head = nn.Linear(16, 5)

        def forward(self, x):
            return self.head(self.layer(self.embed(x.reshape(len(x), 6, 8)) + self.position).mean(1))

    def convolution(norm):
        layers = nn.Unflatten(1, (3, 4, 4)), nn.Conv2d(3, 8, 3, padding=1), norm(), nn.ReLU(), nn.Flatten()
        return nn.Sequential(*layers, nn.Linear(128, 5))

    yield "mlp", lambda: nn.Sequential(nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 5))
    yield "group norm", lambda: convolution(lambda: nn.GroupNorm(2, 8))
    yield "batch norm", lambda: convolution(lambda: nn.BatchNorm2d(8))
    yield "dropout", lambda: nn.Sequential(nn.Linear(48, 24), nn.Dropout(0.3), nn.Tanh(), nn.Linear(24, 5))
    yield "attention", Attention


def metrics():
    import geosam
    from geosam import metrics as m
    from geosam import norms

    yield "Euclidean", m.Euclidean()
    yield "ParameterScaled", m.ParameterScaled(0.01)
    yield "GradientMagnitude", m.GradientMagnitude(10.0, 0.1)
    yield "Monge", m.Monge()
    yield "FilterWise", m.FilterWise()
    yield "LayerWise", m.LayerWise()
    yield "EmpiricalFisher", m.EmpiricalFisher(geosam.Relative(0.1))
    yield "EmpiricalFisher, 1e-6", m.EmpiricalFisher(1e-6)
    yield "EmpiricalFisher, Func", m.EmpiricalFisher(0.01, geosam.engines.Func())
    yield "DiagonalEmpiricalFisher", m.DiagonalEmpiricalFisher()
    yield "Fisher", m.Fisher()
    yield "Fisher, products", m.Fisher(0.1, rows_limit=0, iterations=5)
    yield "Fisher, MonteCarlo", m.Fisher(sampling=m.MonteCarlo(2))
    yield "DiagonalFisher", m.DiagonalFisher()
    yield "KroneckerFisher", m.KroneckerFisher(rest=m.DiagonalFisher())
    yield "BlockDiagonal", m.BlockDiagonal(m.EmpiricalFisher())
    yield "Blockwise", m.Blockwise({"*bias": (m.Euclidean(), 0.5), "*": (m.EmpiricalFisher(), 1.0)}, p=float("inf"))
    yield "Averaged", m.Averaged(m.DiagonalFisher(), 0.9)
    yield "KLExact", m.KLExact()
    yield "KLExact, ḡ²", m.KLExact(along=m.GradientMagnitude())
    yield "Sup", norms.Sup()
    yield "Spectral", norms.Spectral()


def steps(make, case, dtype, frozen):
    """Digests of ε*, weights and memory after three steps, and of ε* outside a step."""
    import torch
    from torch import nn

    import geosam

    torch.manual_seed(0)
    model = make().to(dtype)
    x, y = torch.randn(12, 48, dtype=dtype), torch.randint(5, (12,))
    problem = geosam.Problem(model, nn.CrossEntropyLoss(), frozen_statistics=frozen)
    found = {}
    opt = geosam.SAM(torch.optim.SGD(model.named_parameters(), lr=0.05, momentum=0.9), rho=0.1, **case)
    for i in range(2):
        with opt.perturbed(problem.on(x + i, y)) as p:
            found[f"ε {i}"] = digest(p.epsilon)
        opt.step(problem.on(x + i, y))
    found["weights"] = digest(model.parameters())
    found["buffers"] = digest(model.buffers())
    numbers = [opt.last.dual_norm, opt.last.radius, opt.last.loss, torch.get_rng_state()]
    return {**found, "numbers": digest(numbers)}


def looks(make, dtype):
    import torch
    from torch import nn

    import geosam
    from geosam import metrics as m

    torch.manual_seed(0)
    model = make().to(dtype)
    x, y = torch.randn(12, 48, dtype=dtype), torch.randint(5, (12,))
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
    chosen = [m.Euclidean(), m.GradientMagnitude(), m.Monge(), m.KLExact(m.Euclidean())]
    table = geosam.compare(bound, chosen, match=geosam.KL(0.01))
    measured = geosam.sharpness(bound, m.GradientMagnitude(), 0.05, samples=3, steps=3, iterations=4)
    return {
        "compare": digest([torch.tensor([r.rho, r.length, r.kl, r.actual_rise, r.efficiency]) for r in table.rows]),
        "calibrate": digest([torch.tensor(geosam.calibrate(bound, m.Euclidean(), kind)) for kind in matches()]),
        "sharpness": digest([torch.tensor([measured.worst, measured.ascended, measured.average, measured.eigenvalue])]),
        "ascend": digest(geosam.ascend(bound, m.Euclidean(), 0.1, steps=3).epsilon),
    }


def matches():
    import geosam

    return geosam.KL(0.01), geosam.Length(0.1), geosam.Rise(0.01)


def cases():
    from geosam import metrics as m
    from geosam import objectives, solvers, updates

    for name, metric in metrics():
        yield name, {"metric": metric}
    yield "Smoothed", {"objective": objectives.Smoothed(0.9)}
    yield "Residual", {"objective": objectives.Residual(1.0, 0.9)}
    yield "NoiseWeighted", {"objective": objectives.NoiseWeighted()}
    yield "Preconditioned", {"objective": objectives.Preconditioned(m.DiagonalEmpiricalFisher())}
    yield "SurrogateGap", {"update": updates.SurrogateGap(0.4)}
    yield "MultiStep", {"metric": m.ParameterScaled(), "solver": solvers.MultiStep(3)}


def all_digests():
    import torch

    torch.set_num_threads(1)
    found = {}
    for network, make in networks():
        for dtype in (torch.float32, torch.float64):
            kind = str(dtype).removeprefix("torch.")
            for name, case in cases():
                try:
                    result = steps(make, case, dtype, frozen=network == "batch norm")
                except Exception as error:  # a refusal is a result as well
                    result = {"raised": type(error).__name__}
                found |= {f"{network} · {kind} · {name} · {what}": value for what, value in result.items()}
            if network != "batch norm":
                found |= {f"{network} · {kind} · {what}": value for what, value in looks(make, dtype).items()}
    return found


def of_checkout(path):
    environment = {**os.environ, "PYTHONPATH": path}
    printed = subprocess.run([sys.executable, __file__], cwd=path, env=environment, capture_output=True, text=True, check=True)
    return json.loads(printed.stdout)


def main(old, new):
    before, after = of_checkout(old), of_checkout(new)
    different = sorted(case for case in before.keys() | after.keys() if before.get(case) != after.get(case))
    for case in different:
        print(f"differs: {case}: {before.get(case)} → {after.get(case)}")
    raised = sum(value.endswith("Error") for value in before.values())
    print(f"{len(before)} digests, {raised} of them refusals; {len(different)} differ")
    return bool(different)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        raise SystemExit(main(*map(os.path.abspath, sys.argv[1:])))
    print(json.dumps(all_digests()))
