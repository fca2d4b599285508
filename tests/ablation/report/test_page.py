"""Pages and their pictures: what is in the file, in which layout, and what lies beside it."""

import re
from dataclasses import dataclass, field

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from geosam.ablation.report import Note, Page, Picture, Section, Table, write_page
from geosam.ablation.report.page import marked
from geosam.ablation.report.picture import NARROW, inline, legible, rearranged
from geosam.ablation.report.style import INK, SMALLEST


@dataclass
class Shown:
    records: list = field(default_factory=list)
    failed: list = field(default_factory=list)


def panels():
    """Four panels side by side, whose rows have long names; a legend, a logarithmic axis, small type."""
    figure = Figure(figsize=(11, 2), layout="constrained")
    grid = figure.subplots(1, 4, sharey=True)
    for axes in grid:
        axes.plot([1e-3, 1], [0, 1], label="a name of a line that is long")
        axes.set(xscale="log", xlabel="a label")
    grid[0].set_yticks([0, 1], ["a name of a row", "another name of a row"])
    figure.legend(*grid[0].get_legend_handles_labels(), ncols=4, loc="outside upper right", fontsize=4)
    return figure


def test_a_page_has_contents_blocks_and_files(tmp_path):
    picture = Picture("one", "How **to** read `it`.", panels)
    sections = [Section("First things", [Table("Numbers.", ["a", "b", "c"], [["x", "1", "2 < 3"]]), Note("Look", ["here"])])]
    made = Page("Title", "Lead.", picture, sections=sections, beside={"data.json": [1]})
    text = write_page(tmp_path / "report.html", made, Shown(failed=["run 3"])).read_text()
    assert '<a href="#first-things">' in text and '<section id="first-things">' in text and "Setup" in text
    assert "How <b>to</b> read <code>it</code>." in text and "2 &lt; 3" in text and "follows: run 3." in text
    assert text.count("<svg ") == 2 and "<?xml" not in text and "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", text)
    files = {path.name: path.read_bytes()[:4] for path in (tmp_path / "figures").iterdir()}
    assert files == {"one.png": b"\x89PNG", "one.pdf": b"%PDF"} and (tmp_path / "data.json").exists()


def test_lines_follow_the_page_and_share_no_names():
    first, again, second = (inline(Picture("", "", panels).figures()["wide"], salt) for salt in ("one", "one", "two"))
    names = [set(re.findall(r' id="([^"]+)"', text)) for text in (first, second)]
    assert names[0] and names[0].isdisjoint(names[1])
    assert f"var(--c{INK[1:]}, {INK})" in first and first == again


def test_no_type_is_small_and_no_digit_is_raised():
    figure = legible(panels())
    figure.draw_without_rendering()
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= SMALLEST
    assert "0.001" in {text.get_text() for text in figure.axes[0].get_xticklabels()}


def test_a_narrow_figure_has_its_panels_below_each_other_and_all_names_inside():
    figure = legible(rearranged(panels()))
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    assert width == NARROW and height > 4 * 2
    left, right = zip(*[(box.x0, box.x1) for box in (axes.get_tightbbox() for axes in figure.axes)], strict=True)
    assert (
        min(left) >= 0
        and max(right) <= 1.001 * figure.dpi * NARROW
        and max(axes.get_position().x0 for axes in figure.axes) < 0.1
    )
    assert all("another name of a row" in {text.get_text() for text in axes.texts} for axes in figure.axes)
    (legend,) = figure.legends
    assert legend.get_window_extent().x1 <= figure.dpi * NARROW


@pytest.mark.parametrize(
    "table, kind",
    [
        (Table("", ["what", "value"], [["a", "1"]]), "pairs"),
        (Table("", ["a", "b", "c"], [["a", "1", "2"]]), "numbers"),
        (Table("", ["a", "b", "c"], [["a", "1", "a sentence of some length that would be broken up"]]), "cards"),
        (Table("", ["a", "b", "c"], []), "numbers"),
    ],
)
def test_a_table_is_shown_by_what_is_in_it(table, kind):
    assert table.kind == kind


def test_plain_text_starts_no_markup():
    assert marked("‖c‖*² < 1 & `a<b`") == "‖c‖*² &lt; 1 &amp; <code>a&lt;b</code>"
