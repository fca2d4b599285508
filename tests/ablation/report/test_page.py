"""Pictures of a page: beside it as PNG, in it as lines, or as pixels where it says so."""

import base64

from matplotlib.figure import Figure

from geosam.ablation.report.page import write_page


def drawn(title):
    figure = Figure()
    figure.add_subplot(title=title).plot([0, 1])
    return figure


def test_images_are_in_the_page_and_beside_it(tmp_path):
    template = tmp_path / "two.html.j2"
    template.write_text("{{ images.lines }} {{ images.pixels }}")
    page = write_page(tmp_path / "out" / "page.html", template, {n: drawn(n) for n in ("lines", "pixels")}, raster=["pixels"])
    (svg, lines), (png, pixels) = (uri.split(";base64,") for uri in page.read_text().split())
    assert (svg, png) == ("data:image/svg+xml", "data:image/png")
    picture = base64.b64decode(lines)
    assert b"<svg " in picture and b"<!-- lines -->" in picture and b"<dc:date>" not in picture
    beside = {path.stem: path.read_bytes() for path in (page.parent / "figures").iterdir()}
    assert set(beside) == {"lines", "pixels"} and base64.b64decode(pixels) == beside["pixels"]
    assert all(content.startswith(b"\x89PNG") for content in beside.values())
