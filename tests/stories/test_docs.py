"""The code in the README and the guide runs as printed."""

import re
from pathlib import Path

import pytest
import torch

import geosam
from tests.coarse import coarse_pictures

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```python\n(.*?)```", re.S)


def blocks(page: str) -> list[str]:
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def test_the_readme_runs(capsys):
    code, _ = blocks("README.md")
    torch.manual_seed(0)
    exec(compile(code, "README.md", "exec"), {})
    assert "EmpiricalFisher" in capsys.readouterr().out


def test_the_ablation_of_the_readme_runs(capsys, tmp_path, monkeypatch):
    """As it is printed, but for two seeds and two epochs."""
    _, code = blocks("README.md")
    assert len([line for line in code.splitlines() if line]) <= 15
    monkeypatch.chdir(tmp_path)
    short = code.replace("range(5)", "range(2)").replace('"epochs": 10', '"epochs": 2')
    with coarse_pictures():
        exec(compile(short, "README.md", "exec"), {"__name__": "readme"})
    said = capsys.readouterr().out
    assert said.count("not decided") + said.count("holds") + said.count("fails:") >= 7 and "failed" not in said
    assert len(list(Path("runs/mine/records").glob("*.json"))) == 16 and Path("runs/mine/report.html").exists()


GUIDE = ["own_metric", "idea", "choose", "sharpness", "laws", "faq", "index"]


@pytest.mark.parametrize("page", [f"docs/{name}.md" for name in GUIDE])
def test_the_guide_runs(page):
    """As it is printed, but for three examples a law."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    names = {"torch": torch, "model": model, "x": torch.randn(16, 4), "y": torch.randint(3, (16,))}
    found = blocks(page)
    assert found
    exec("import geosam", names)
    for code in found:
        exec(compile(code.replace("examples=20", "examples=3"), page, "exec"), names)


def test_every_recipe_is_an_optimizer():
    """The lines of the table, with numbers for what the reader fills in."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 3))
    names = {"torch": torch, "model": model, "SAM": geosam.SAM, "alpha": 0.1, "rise": 0.1, "rho_max": 0.1, "start": 5}
    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    (setup,) = BLOCK.findall(page)
    exec(setup, names)
    recipes = re.findall(r"`(SAM\(.*?\))`", page)
    assert len(recipes) > 15
    for recipe in recipes:
        assert isinstance(eval(recipe.replace("rho=...", "rho=0.1"), names), geosam.SAM), recipe


def test_the_files_that_pages_name_are_there():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "decisions").glob("*.md")]
    named = {
        (page.name, file) for page in pages for file in re.findall(r"`([\w./]+/\w+\.py)", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 50
    above = (ROOT, ROOT / "geosam", ROOT / "geosam" / "engines", ROOT / "experiments")
    assert not {(page, file) for page, file in named if not any((folder / file).exists() for folder in above)}
