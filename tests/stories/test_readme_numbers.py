"""Every measured number of the README is that of the records, whose commits it names."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NETWORKS = ("MLP 784-512-512-10", "residual CNN, GroupNorm", "ViT, 3 blocks of width 128")
ROWS = {
    "`EmpiricalFisher()`, exact and full": ("", ["EmpiricalFisher"]),
    "the same with every row formed (`engine=engines.Func()`)": (", slow", ["EmpiricalFisher, engine Func"]),
    "`DiagonalEmpiricalFisher()`": ("", ["DiagonalEmpiricalFisher"]),
    "`Fisher(sampling=MonteCarlo(1))`, full": ("", ["Fisher, MonteCarlo(1)"]),
    "`KLExact(along=GradientMagnitude())` · `KLExact(along=DiagonalEmpiricalFisher())`": (
        "",
        ["KL along ḡ²", "KL along the diagonal"],
    ),
    "`Fisher()` by ten iterations of conjugate gradients · by a Gram matrix of n·C rows": (
        ", slow",
        ["Fisher, Exact, ten iterations of CG", "Fisher, Exact, n·C rows"],
    ),
}


def record(name):
    found = json.loads((ROOT / "experiments/records/benchmarks" / f"{name}.json").read_text(encoding="utf-8"))
    return found, found["runs"]["pinned"]


def shown(ratio):
    return f"{ratio:.2f}" if ratio < 2 else f"{ratio:.2g}"


def test_what_a_step_costs():
    found, runs = record("step")
    resnet, mlp = (next(run for name, run in runs.items() if name.startswith(start)) for start in ("ResNet-20", "MLP 10 M"))
    ratios = [run["jobs"][job]["ratio"] for run, job in ((resnet, "copy, Euclidean"), (mlp, "copy, Euclidean"))]
    assert f"costs {ratios[0]:.2f} of two forward/backward passes" in README
    assert f"(A/A difference {100 * resnet['aa_difference']:.1f} %)" in README
    swap, theirs = (mlp["jobs"][job]["ratio"] for job in ("swap, Euclidean", "pytorch_optimizer SAM"))
    assert f"{ratios[1]:.2f} (by swap {swap:.2f}) on a 10 M-parameter MLP at batch 16" in README
    assert re.search(rf"pytorch_optimizer's SAM costs {theirs:.2f}\b", README)
    assert found["commit"][:7] in README


def test_what_a_geometry_adds():
    _, runs = record("fisher_cost")
    for label, (kind, jobs) in ROWS.items():
        cells = [" · ".join(shown(runs[name + kind]["jobs"][job]["ratio"]) for job in jobs) for name in NETWORKS]
        assert f"| {label} | {' | '.join(cells)} |" in README
    assert runs["provenance"]["commit"][:7] in README


def test_growth():
    _, runs = record("growth")
    largest = runs["over n"]["4096"]
    seconds, megabytes = largest["EmpiricalFisher_ms"] / 1000, largest["EmpiricalFisher_mb"]
    assert f"n = 4,096 takes {seconds:.1f} s and {megabytes:.0f} MB" in " ".join(README.split())
    assert f"all rows are {largest['rows_mb'] / 1000:.1f} GB" in " ".join(README.split())
    assert runs["provenance"]["commit"][:7] in README
