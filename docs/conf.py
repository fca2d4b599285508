"""Sphinx configuration. Builds need no network."""

import importlib.metadata
import importlib.util
import re
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import choose_page
import figures_page
import summary_page
import theory_pages
import trainers_page
import zoo_page
from docutils import nodes

project = "geosam"
author = "geosam contributors"
project_copyright = f"2026, {author}"
release = version = importlib.metadata.version("geosam")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples", "trainers_table.md", "choose_table.md"]

html_theme = "furo"
html_title = "geosam"
html_copy_source = False
# Formulas are rendered in the browser, by MathJax's one file that needs no other: pages need no network either.
html_static_path = [
    str(Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent / "static/mathjax/tex-svg-full.js")
]
mathjax_path = "tex-svg-full.js"

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",  # run every example
    "reset_modules": ("matplotlib", "gallery_style.legible"),
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
}

TORCH = {
    "torch.Tensor": "tensors.html",
    "torch.optim.Optimizer": "optim.html#torch.optim.Optimizer",
    "torch.nn.Parameter": "generated/torch.nn.parameter.Parameter.html",
    "torch.distributions.Distribution": "distributions.html",
}
_LITERAL = re.compile(r"(``.+?``|:[\w:]+:`[^`]+`|\*\*[^\s*][^*]*\*\*)")
_MARKUP = re.compile(r"([*|`\\]|_(?=\W|$))")


def plain_text(app, what, name, obj, options, lines):
    """Docstrings are plain text with Unicode mathematics, not RST: in ‖c‖*² or |w| nothing may start markup.

    Kept: ``code``, **bold**, roles and lists. Indented lines are shown as they stand.
    """
    out, kind = [], "text"
    for line in lines:
        before = kind
        if line.startswith("- "):
            kind = "list"
        elif line.startswith(" "):
            kind = "list" if before == "list" else "verbatim"
        elif line:
            kind = "text"
        if kind != before:
            out += ["", "::", ""] if kind == "verbatim" else [""]
        if kind != "verbatim":
            parts = _LITERAL.split(line)
            line = "".join(part if i % 2 else _MARKUP.sub(r"\\\1", part) for i, part in enumerate(parts))
        out.append(line)
    lines[:] = out


def to_torch(app, env, node, contnode):
    """A name of torch's is a link to its page, which no inventory has to be fetched for."""
    target = node.get("reftarget", "")
    if not target.startswith("torch."):
        return None
    page = TORCH.get(target, f"generated/{target}.html")
    return nodes.reference("", "", contnode, refuri=f"https://docs.pytorch.org/docs/stable/{page}", internal=False)


def setup(app):
    """Register the docstring filter, the links to torch, and the pages made at the build."""
    app.connect("missing-reference", to_torch)
    app.connect("builder-inited", theory_pages.write)
    app.connect("builder-inited", figures_page.write)
    app.connect("builder-inited", choose_page.write)
    app.connect("builder-inited", zoo_page.write)
    app.connect("builder-inited", trainers_page.write)
    app.connect("builder-inited", summary_page.write)
    app.connect("autodoc-process-docstring", plain_text)
