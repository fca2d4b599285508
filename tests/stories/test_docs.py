"""The code in the README and the guide runs as printed."""

import re
from pathlib import Path

import pytest
import torch

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
    exec(compile(short, "README.md", "exec"), {"__name__": "readme"})
    said = capsys.readouterr().out
    assert said.count("not decided") + said.count("holds") + said.count("fails:") >= 7 and "failed" not in said
    assert len(list(Path("runs/mine/records").glob("*.json"))) == 16 and Path("runs/mine/report.html").exists()


@pytest.mark.parametrize("page", ["docs/own_metric.md", "docs/idea.md"])
def test_the_guide_runs(page):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    names = {"torch": torch, "model": model, "x": torch.randn(16, 4), "y": torch.randint(3, (16,))}
    found = blocks(page)
    assert found
    exec("import geosam", names)
    for code in found:
        exec(compile(code, page, "exec"), names)
