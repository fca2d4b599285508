"""Reports in a real browser, on a desk and on a telephone, by day and by night."""

import shutil
from dataclasses import dataclass, field

import pytest
from matplotlib.figure import Figure

from geosam.ablation.report import INK, QUIET, Note, Page, Picture, Section, Table, write_page

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive a browser")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
QUIETLY = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIETLY += ["--disable-component-update", "--disable-sync"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome on the path"),
]

LOOK = """() => {
  const seen = element => { const box = element.getBoundingClientRect(); return box.width > 0 && box.height > 0 }
  const turned = element => { const at = element.getScreenCTM(); return Math.hypot(at.a, at.b) }
  const scale = element => element.closest("svg") && element.getScreenCTM ? turned(element) : 1
  const bright = colour => { const [r, g, b] = colour.match(/[0-9.]+/g).map(Number); return (r + g + b) / 765 }
  const texts = [...document.querySelectorAll("body *")].filter(element =>
    seen(element) && [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.textContent.trim()))
  const scrolls = element => element.closest(".scroll") !== null
  const inks = [...document.querySelectorAll("svg text")].filter(seen).map(text => bright(getComputedStyle(text).fill))
  return {
    wide: document.scrollingElement.scrollWidth - window.innerWidth,
    small: texts.filter(text => parseFloat(getComputedStyle(text).fontSize) * scale(text) < 11).map(text => text.textContent),
    outside: texts.filter(text => !scrolls(text)).filter(text => {
      const box = text.getBoundingClientRect(), edge = (text.closest("svg") || document.body).getBoundingClientRect()
      return box.left < edge.left - 1 || box.right > edge.right + 1
    }).map(text => text.textContent),
    broken: [...document.querySelectorAll("td, th")].filter(cell => seen(cell) && cell.textContent.trim().length > 3
      && cell.getBoundingClientRect().width < 24).map(cell => cell.textContent),
    layouts: [...document.querySelectorAll("figure")].map(figure => [...figure.querySelectorAll("svg")].filter(seen)
      .map(svg => svg.parentElement.className)),
    page: bright(getComputedStyle(document.body).backgroundColor),
    text: bright(getComputedStyle(document.body).color),
    ink: inks.length ? inks.reduce((a, b) => a + b) / inks.length : null,
    dead: [...document.querySelectorAll("nav a")].filter(link => !document.querySelector(link.getAttribute("href")))
      .map(link => link.textContent),
  }
}"""


@dataclass
class Nothing:
    records: list = field(default_factory=list)
    failed: list = field(default_factory=lambda: ["a run that failed"])


def rows():
    """Four columns of rows with long names."""
    figure = Figure(figsize=(11, 3))
    grid = figure.subplots(1, 4, sharey=True)
    for axes in grid:
        axes.plot([1e-4, 1, 3], [0, 1, 2], "o", color="#2a6f97", label="points of a study")
        axes.set(xscale="log", xlabel="what is on this axis, in words", title="A question that is asked")
    grid[0].set_yticks(range(3), ["KLExact along EmpiricalFisher", "GradientMagnitude", "SGD, half the compute"])
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper right")
    return figure


def map_with_bar():
    """A heat map with a colour bar, and small type that a study forgot."""
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    figure.colorbar(axes.imshow([[0, 1], [2, 3]]), ax=axes, label="cosine")
    axes.text(0, 0, "small", fontsize=5, color=INK)
    axes.set_title("A map of something over two settings", color=QUIET)
    return figure


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page of everything that pages have."""
    numbers = Table("Fourteen columns.", [f"column {i}" for i in range(14)], [["a long name of a row", *["0.123456"] * 13]])
    pairs = Table(
        "Setup.", ["what", "value"], [["record keys", " ".join(["1a0ecaf3d4296e3d"] * 30)], ["metric", "A(b=c)" * 40]]
    )
    cards = Table(
        "Verdicts.", ["claim", "says", "why"], [["F10", "a sentence of many words " * 4, "0.01 ± 0.02, n = 5 " * 4]] * 2
    )
    sections = [Section("Numbers", [numbers, cards]), Section("A map", [Picture("map", "What `it` shows.", map_with_bar)])]
    page = Page(
        "A study", "What was run.", Picture("rows", "How to read it.", rows), pairs, Note("It holds", ["why"]), sections
    )
    return write_page(tmp_path_factory.mktemp("page") / "report.html", page, Nothing())


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=BROWSER, args=QUIETLY)
        yield running
        running.close()


def look(browser, page, width, scheme):
    """What a visitor sees; console errors fail."""
    tab, errors = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme), []
    tab.on("console", lambda message: errors.append(message.text))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(page.as_uri())
    found = tab.evaluate(LOOK)
    tab.close()
    assert errors == []
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_page_is_legible(browser, written, width, scheme):
    found = look(browser, written, width, scheme)
    assert found["wide"] <= 0 and found["outside"] == [] and found["broken"] == [] and found["dead"] == []
    assert found["small"] == []
    assert found["layouts"] == [["wide" if width == 1280 else "narrow"]] * 2
    night = scheme == "dark"
    assert (found["page"] < 0.2, found["text"] > 0.7, found["ink"] > 0.5) == (night, night, night)


def test_a_page_between_takes_the_narrow_layout_of_what_does_not_fit(browser, written):
    assert look(browser, written, 900, "light")["layouts"] == [["narrow"], ["wide"]]


def test_small_type_wide_blocks_and_hidden_figures_are_seen(browser, written, tmp_path):
    """The look itself can fail."""
    spoilt = tmp_path / "spoilt.html"
    style = "<style>figcaption { font-size: 9px } .narrow { display: none } h1 { width: 600px } nav { width: 9px }</style>"
    spoilt.write_text(written.read_text().replace("</head>", f"{style}</head>"))
    found = look(browser, spoilt, 390, "light")
    assert found["wide"] > 0 and "How to read it." in found["small"] and found["layouts"] == [[], []]
