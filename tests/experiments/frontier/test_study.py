"""The approximation frontier at its smallest, from end to end."""

from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from experiments.common.runner import configured
from experiments.common.training import Training
from experiments.frontier import report
from experiments.frontier import study as module
from experiments.frontier.config import Config, Looks
from experiments.frontier.methods import FLOOR, METHODS, REFERENCE
from experiments.frontier.study import Frontier
from tests.experiments.carried import carried, records

NAMES = (FLOOR, "GradientMagnitude η=1, as published", "DiagonalFisher, exact", REFERENCE, "KLExact along Fisher, exact")
TINY = Config(
    networks=("cnn", "mlp"),
    seeds=(0,),
    methods=tuple(m for m in METHODS if m.name in NAMES),
    training=Training(train_size=64, batch=16, width=4, epochs=2, warmup=0),
    looks=Looks(epochs=(0, 2), rounds=1, ratios=(1e-7,)),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("frontier")
    return carried(Frontier(TINY), out, figure=out / "elsewhere" / "frontier.png")


@pytest.fixture(scope="module")
def outcomes(finished):
    return {record.result.network: record.result for record in records(Frontier(TINY), finished.out)}


def _looks(outcome, name, epoch, shared=True):
    (place,) = [c for c in outcome.checkpoints if c.epoch == epoch]
    return [look for look in place.looks if look.method == name and look.shared == shared]


@pytest.mark.parametrize("name", ["cnn", "mlp"])
def test_the_exact_fisher_is_efficient_where_kl_is_small_and_nothing_is_more(outcomes, name):
    outcome = outcomes[name]
    for place in outcome.checkpoints:
        (exact,) = _looks(outcome, REFERENCE, place.epoch)
        (less,) = _looks(outcome, REFERENCE, place.epoch, shared=False)
        assert 0.98 <= exact.local <= less.local and less.local >= 0.999, "what is missing is the damping"
        assert exact.cosine == pytest.approx(1, abs=1e-4)
        assert all(look.local <= 1 + 1e-6 for look in place.looks)


def test_kl_exact_spends_its_budget_along_the_exact_direction(outcomes):
    for outcome in outcomes.values():
        (exact,) = _looks(outcome, REFERENCE, 0)
        (met,) = _looks(outcome, "KLExact along Fisher, exact", 0)
        assert [at.spent for at in met.at] == pytest.approx([1, 1], abs=0.03)
        assert met.cosine == pytest.approx(exact.cosine, abs=1e-6) and met.local == pytest.approx(exact.local, abs=1e-5)


def test_the_published_setting_is_sam_and_has_no_damping_to_sweep(outcomes):
    for outcome in outcomes.values():
        (sam,), (published,) = _looks(outcome, FLOOR, 0), _looks(outcome, NAMES[1], 0)
        assert published.ratio is None and not _looks(outcome, NAMES[1], 0, shared=False)
        assert published.local == pytest.approx(sam.local, rel=0.05)
        assert len(_looks(outcome, REFERENCE, 0, shared=False)) == len(TINY.looks.ratios)


def test_costs_are_ratios_to_the_euclidean_perturbation(outcomes):
    for outcome in outcomes.values():
        costs = {cost.method: cost for cost in outcome.costs}
        assert set(costs) == set(NAMES) and costs[FLOOR].ratio == 1
        assert costs[REFERENCE].bytes > costs[FLOOR].bytes > 0


def test_the_page_has_one_figure_and_one_row_a_network_and_method(finished):
    text = finished.page.read_text()
    assert text.count("<figure ") == 1 and "What decides nothing here" in text
    assert all(text.count(f"{title}, {name}</th>") == 1 for title in ("CNN", "MLP") for name in NAMES)
    assert "exact Fisher as KL" in finished.said and "CNN after 2 epochs" in finished.said
    for folder in (finished.page.parent / "figures", finished.out / "elsewhere"):
        assert (folder / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_records_are_used_again_and_a_failure_is_named(finished, monkeypatch):
    def refuse(run):
        raise RuntimeError("measured again")

    monkeypatch.setattr(module, "measure", refuse)
    monkeypatch.setattr(report, "draw", lambda summary, narrow=False: Figure())
    assert carried(Frontier(TINY), finished.out).page == finished.page
    more_seeds = replace(TINY, seeds=(0, 1))
    more = carried(Frontier(more_seeds), finished.out)
    assert more.page is None and "measured again" in more.said
    assert "cnn, seed 1; mlp, seed 1" in (finished.out / configured(Frontier(more_seeds)) / "report.html").read_text()
