"""Every measured number of the README is that of the records, whose commits it names."""

import json
import re
from pathlib import Path

import pandas as pd

from experiments.common.runner import records_of
from experiments.compare.study import Compare
from experiments.frontier.config import Config
from experiments.frontier.report import reach
from experiments.frontier.study import Frontier
from experiments.frontier.summary import summarise

ROOT = Path(__file__).parents[2]
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
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

FRONTIER, COMPARE = Frontier(Config(seeds=(0, 1, 2))), Compare()
COUNTED = {2: "Two", 3: "Three", 11: "Eleven", 12: "Twelve", 13: "Thirteen"}


def record(name):
    found = json.loads((ROOT / "experiments/records/benchmarks" / f"{name}.json").read_text(encoding="utf-8"))
    return found, found["runs"]["pinned"]


def kept(study, name):
    """The records of a study."""
    (part,) = study.parts()
    store = records_of(part, ROOT / "experiments/records" / name)
    return [store.load(job) for job in part.jobs]


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
    products = [f"{runs[name + ', one product']['jobs']['product']['ratio']:.2f}" for name in NETWORKS]
    assert f"| one such iteration over a forward and backward pass | {' | '.join(products)} |" in README
    usual, slow, last = (
        f"{100 * max(runs[name + kind]['aa_difference'] for name in NETWORKS):.1f} %"
        for kind in ("", ", slow", ", one product")
    )
    assert f"A/A differences at most {usual} ({last} in the last row, {slow} in the slow ones)" in README
    assert runs["provenance"]["commit"][:7] in README


def test_growth():
    _, runs = record("growth")
    largest = runs["over n"]["4096"]
    seconds, megabytes = largest["EmpiricalFisher_ms"] / 1000, largest["EmpiricalFisher_mb"]
    assert f"n² leads in the full matrix's step from n = {runs['in n']['EmpiricalFisher']['crossover']:,.0f} on" in README
    assert f"n = 4,096 takes {seconds:.1f} s and {megabytes:.0f} MB" in README
    assert f"all rows are {largest['rows_mb'] / 1000:.1f} GB" in README
    assert runs["provenance"]["commit"][:7] in README


def test_what_a_fisher_buys():
    """The ranges under the frontier: medians over seeds, of every network and every checkpoint but the first."""
    summary = summarise(FRONTIER.config, kept(FRONTIER, "frontier"))
    low, high = reach(summary)["local"]
    assert f"As KL → 0 the exact Fisher's is {low:.3f} to {high:.3f} in every run." in README
    epochs = [epoch for epoch in summary.config.looks.epochs if epoch >= 1]
    points = pd.concat([summary.points(network, epoch, 1e-6) for network in summary.networks for epoch in epochs])
    kinds = points.index.map({method.name: method.kind for method in summary.config.methods})

    def between(chosen):
        values = points["efficiency"][chosen]
        assert len(values)
        return f"between {values.min():.2f} and {values.max():.2f}"

    assert f"the diagonals lie {between(kinds == 'diagonal')}," in README
    assert f"the empirical and the sampled full Fishers {between(kinds == 'full, other rows')}," in README
    assert f"Kronecker factors {between(points.index.str.startswith('Kronecker'))}," in README
    assert f"ten steps of conjugate gradients {between(points.index.str.contains('10 steps'))}," in README
    assert f"exact blocks of layers {between(points.index.str.startswith('BlockDiagonal'))}." in README


def test_what_the_comparison_trains():
    records, config = kept(COMPARE, "compare"), COMPARE.config
    training = config.training
    assert f"{training.train_size} digits with {training.label_noise:.0%} wrong".replace("%", " %") in README
    assert f"a CNN of {records[0].result.parameters:,} parameters" in README
    assert f"![{COUNTED[len(config.methods)]} methods on the digits" in README
    assert f"the same KL after {COUNTED[training.warmup].lower()} epochs" in README
    assert f"{COUNTED[len(config.seeds)].lower()} paired seeds" in README


def test_where_the_toy_ends():
    """F9: how often FSAM alone ends in the flat minimum, and at which learning rate a search found that."""
    toy = json.loads((ROOT / "experiments/records/toy/summary.json").read_text(encoding="utf-8"))
    duels = [each for each in toy["duels"] if (each["loss"], each["where"]) == ("the figure's", "all")]
    slow, fast = (f"{each:.0f}" for each in (toy["config"]["ranges"]["lr"][1], max(each["lr"] for each in toy["figures"])))
    assert {each["rival"] for each in duels} == {"SAM", "ASAM"} and not any(each["wins"] for each in duels)
    assert f"at learning rates near {fast}, in none of {toy['settings']:,} settings below {slow};" in README
    assert all(each["lr"] == float(fast) for each in toy["figures"] if each["won"])
    assert f"Where {toy['settings']:,} random settings of the toy end" in README


def test_how_many_examples_there_are():
    examples = list((ROOT / "docs/examples").glob("plot_*.py"))
    tutorials = [path for path in examples if path.stem.startswith("plot_tutorial")]
    named = COUNTED[len(tutorials)], COUNTED[len(examples) - len(tutorials)]
    assert "{} tutorials and a gallery of {} examples".format(*named).lower() in README


def test_what_choosing_says_that_a_geometry_costs():
    """The least and the largest of a whole step over the Euclidean one, of the networks that were timed."""
    page = (ROOT / "docs/choose.md").read_text(encoding="utf-8")

    def spread(name, *wanted):
        runs = [run["jobs"] for run in record(name)[1].values() if "jobs" in run]
        ratios = [
            jobs[job]["ratio"] / jobs.get("copy, Euclidean", {"ratio": 1})["ratio"]
            for jobs in runs
            for job in wanted
            if job in jobs
        ]
        return f"{min(ratios):.2f} to {max(ratios):.2f}"

    for metric, found in {
        "`ParameterScaled()`": spread("step", "copy, ParameterScaled"),
        "`GradientMagnitude(eta=1.0)`": spread("step", "copy, GradientMagnitude"),
        "`EmpiricalFisher()`": spread("fisher_cost", "EmpiricalFisher"),
        "`DiagonalEmpiricalFisher()`": spread("fisher_cost", "DiagonalEmpiricalFisher"),
        "`KLExact(along=...)`": spread("fisher_cost", "KL along ḡ²", "KL along the diagonal"),
    }.items():
        assert re.search(rf"\| {re.escape(metric)} \| {found}(,| \|)", page), (metric, found)
