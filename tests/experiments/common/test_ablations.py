"""A study of ablations: what it runs, where that lies, and what it only says."""

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

import experiments.common.ablations as ablations
from experiments.common.ablations import control, study
from experiments.common.methods import CONTROL, EQUAL, FSAM, SAM, SGD, rows
from experiments.common.options import Options
from experiments.common.parts import parts
from experiments.common.protocol import Protocol
from experiments.common.source import Source
from geosam.ablation import Choice, Results, Rule, Tuned
from geosam.ablation.report import Page
from geosam.metrics import Monge
from geosam.norms import Sup
from geosam.records import describe

TINY = Protocol(
    "nobody", Source("digits", batch=20, train=60, test=40, held_out=0.25), "digit_cnn",
    rows((SGD, EQUAL, SAM, FSAM)), epochs=1, seeds=2, rule=Rule(against=SAM),
)  # fmt: skip
PRESETS = SimpleNamespace(
    TITLE="Tiny",
    RATES={"clean": 0.0, "noise-0.5": 0.5},
    PRESETS={"tiny": lambda: TINY, "longer": lambda: replace(TINY, epochs=2)},
)


def own_metric():
    return Sup()


@pytest.fixture
def carried(tmp_path, monkeypatch):
    """Carries a study out, without pages; what it said."""
    monkeypatch.setattr(ablations, "overview", lambda *_: Page("Nothing", ""))
    monkeypatch.setattr(Results, "report", lambda self, folder: folder)

    def carry(preset="tiny", dry=False, **asked):
        text = io.StringIO()
        made = study(PRESETS, preset, Options(**asked), dry)
        page = made.carry_out(tmp_path, workers=1, fresh=False, figure=None, console=Console(file=text, width=500))
        return page, text.getvalue()

    return carry


def test_each_configuration_has_a_folder_and_runs_once(carried, tmp_path):
    page, said = carried(quick=True)
    assert said.count("8 to do") == 1 and len(list(tmp_path.glob("tiny-*/clean/records/*.json"))) == 8
    again, said = carried(quick=True)
    assert again == page and "8 have a record" in said
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    other, said = carried(quick=True, metrics=(f"{__name__}:own_metric",))
    assert other != page and "10 to do" in said
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_dry_run_lists_every_run_with_its_price_and_trains_nothing(carried, tmp_path):
    _, said = carried(preset="longer", dry=True)
    steps = 45 // 20
    assert f"clean: SGD, seed 0, {2 * steps} gradients" in said and f"noise-0.5: SAM, seed 1, {4 * steps} gradients" in said
    assert "minutes of one process" in said and not list(tmp_path.iterdir())


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(ValueError, match="no preset 'huge'; there are tiny, longer"):
        study(PRESETS, "huge", Options(), False)


def test_sam_is_run_at_the_radius_and_rate_that_fisher_sam_was_tuned_to():
    tuned = replace(TINY, match=Tuned(2, Choice((0.1,)), Choice((0.03,)))).ablation()
    result = {"method": FSAM, "tuned": {"chosen": {"rho": 0.1, "lr": 0.03}}}
    runs = control(tuned, SimpleNamespace(records=[SimpleNamespace(result=result)]))
    assert [(run.name, run.seed, run.method.rho) for run in runs] == [(CONTROL, 0, 0.1), (CONTROL, 1, 0.1)]
    assert runs[0].setting.optimizer == replace(TINY.optimizer, lr=0.03) and runs[0].setting.rule == tuned.setting.rule
    given = {"method": FSAM, "tuned": None}
    assert control(TINY.ablation(), SimpleNamespace(records=[SimpleNamespace(result=given)])) == []


def test_users_geometries_are_metrics_norms_or_what_makes_them():
    found = TINY.asked(Options(metrics=("geosam.metrics:Monge", f"{__name__}:own_metric"))).methods
    assert found["geosam.metrics:Monge"].metric == Monge() and f"{__name__}:own_metric" in found


@pytest.mark.slow
@pytest.mark.parametrize("presets", parts("presets").values(), ids=parts("presets"))
def test_quick_runs_all_of_it(presets, tmp_path, monkeypatch):
    draw = np.random.default_rng(0)
    images = {f"{part}_x": draw.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8) for part in ("train", "test")}
    np.savez(tmp_path / "cifar10.npz", **images, train_y=np.arange(200) % 10, test_y=np.arange(200) % 10)
    monkeypatch.setenv("GEOSAM_DATA", str(tmp_path))
    made = study(presets, next(iter(presets.PRESETS)), Options(quick=True), False)
    page = made.carry_out(tmp_path, workers=1, fresh=False, figure=tmp_path / "it.png", console=Console(file=io.StringIO()))
    assert page is not None and SAM in page.read_text() and (tmp_path / "it.png").exists()
    assert (page.parent / "clean" / "report.html").exists() or "clean" not in made.settings


def test_without_rates_a_preset_has_the_wrong_labels_that_it_says():
    noisy = replace(TINY, data=replace(TINY.data, noise=0.3))
    alone = SimpleNamespace(TITLE="Tiny", PRESETS={"tiny": lambda: TINY, "noisy": lambda: noisy})
    found = {name: study(alone, name, Options(), False).settings for name in alone.PRESETS}
    rates = {
        name: {key: describe(run.setting.data)["noise"] for key, run in settings.items()} for name, settings in found.items()
    }
    assert rates == {"tiny": {"clean": 0.0}, "noisy": {"noisy": 0.3}}
