"""The figures of Fisher SAM drawn again from records, at build time: what agrees with the paper and what does not."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from theory_pages import RECORDS, cell, replace

from experiments.claims.study import Claims
from experiments.report.study import pages
from experiments.toy.config import Config
from experiments.toy.paths import figure_1, paths
from experiments.toy.report import DRAWN, LOSS, caption
from experiments.toy.result import Found
from geosam.ablation.report import DARK, Picture, inline

TOY = json.loads((RECORDS / "toy" / "summary.json").read_text(encoding="utf-8"))
SECTION = {"perturb": ("Figure 4: perturbed parameters", "F15"), "sensitivity": ("Figure 5: sensitivity to γ and η", "F17")}


def write(app) -> None:
    """``figures.md`` in the documentation's source directory."""
    replace(Path(app.srcdir) / "figures.md", page(Claims(RECORDS).rows()))


def page(rows) -> str:
    """Figures 1 to 5."""
    lines = [
        "# The figures of Fisher SAM, redrawn",
        "",
        "Each figure of Kim et al. (ICML 2022), drawn from our own runs: what agrees with the paper, and what does not.",
        "",
    ]
    lines += [raw(f"<style>\n{style()}\n</style>"), "", "## Figure 1: the loss of the toy", ""]
    lines += shown(Picture("figure-1", LOSS, figure_1))
    lines += [
        "**Agrees**, to the digits printed: positions, losses and Hessian traces of both minima, if each energy is KL + ½."
        " **Does not**: eq. 15 as printed has its minima elsewhere, the sharp one at (−16.80, 12.80).",
        "",
    ]
    lines += ["## Figure 2: SAM against FSAM", "", *hunted(2, "SAM"), "## Figure 3: ASAM against FSAM", "", *hunted(3, "ASAM")]
    found = {name: each for name, each, _ in pages(RECORDS, SECTION)}
    for name, (title, claim) in SECTION.items():
        lines += [f"## {title}", ""]
        if name in found:
            lines += [cell(found[name].lead), "", *shown(found[name].picture)]
        lines += [f"- **{v.outcome}** at {cell(run)}: {cell(c.says)} ({cell(v.why)})" for c, run, v, _ in rows if c.id == claim]
        lines += ["" if name in found else f"No record: `python -m experiments {name}`.", ""]
    return "\n".join(lines)


def hunted(figure: int, rival: str) -> list[str]:
    """Figure 2 or 3 from the settings that a search found, and how often random settings end so."""
    kept = {(each["figure"], each["won"]): each for each in TOY["figures"]}
    hunts = [(job, Found.model_validate(kept[job.figure, job.won])) for job in Config().hunts() if job.figure == figure]
    said = " ".join(f"**{'As printed' if job.won else 'The reverse'}.** {caption(job, result)}" for job, result in hunts)
    counts = [
        f"with {each['design']}, {each['wins']:,} : {each['losses']:,} at the minima and"
        f" {each['crossed']:,} : {each['recrossed']:,} on their sides"
        for each in TOY["duels"]
        if (each["loss"], each["rival"], each["where"]) == ("the figure's", rival, "all")
    ]
    return [
        *shown(Picture(f"figure-{figure}", f"{DRAWN} {said}", partial(paths, hunts))),
        f"**Agrees**: there are settings at which {rival} goes to the sharp minimum and FSAM to the flat one; start, learning"
        " rate and radius are not printed, so that these were searched for. **Does not**: there are settings of the reverse"
        f" too. Among {TOY['settings']:,} random settings, those where FSAM ends flat and {rival} sharp, against the reverse,"
        f" are: {'; '.join(counts)}.",
        "",
    ]


def shown(picture: Picture) -> list[str]:
    """In the page, in the layout that fits, with its caption."""
    figures = picture.figures()
    parts = [f'<div class="{layout}">{inline(figure, f"{picture.name}-{layout}")}</div>' for layout, figure in figures.items()]
    fits = f"@container (min-width: {96 * figures['wide'].get_figwidth():.0f}px)"
    switch = f"#{picture.name} .wide {{ display: block }} #{picture.name} .narrow {{ display: none }}"
    body = f'<style>{fits} {{ {switch} }}</style>\n<div class="drawn" id="{picture.name}">\n' + "\n".join(parts) + "\n</div>"
    return [raw(body), "", picture.words.replace("‖", "\\‖").replace("*.", "\\*."), ""]


def raw(html: str) -> str:
    return f"````{{raw}} html\n{html}\n````"


def style() -> str:
    """Colours by day and by night, and which layout is shown."""
    day, night = ("; ".join(f"--c{a[1:]}: {b}" for a, b in pairs) for pairs in (zip(DARK, DARK, strict=True), DARK.items()))
    return "\n".join(
        [
            f"body {{ {day} }}",
            f'body[data-theme="dark"] {{ {night} }}',
            f'@media (prefers-color-scheme: dark) {{ body:not([data-theme="light"]) {{ {night} }} }}',
            ".drawn { container-type: inline-size } .drawn svg { display: block; width: 100%; height: auto }",
            ".drawn .wide { display: none } .drawn .narrow { max-width: 30rem; margin: 0 auto }",
        ]
    )
