"""Sphinx: `make docs` builds the site from docs/, notebooks/ and the pages on top of the repository.

The source folder is the whole repository, so that a link is the same on a code host and on the site. Notebooks are
pages and are not executed (`tests/test_notebooks.py` executes them). Nothing is fetched.
"""

import pathlib
import re
import sys

import docutils.core
import docutils.nodes

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

project = "entropy_rl"
author = "the entropy_rl authors"
copyright = "the entropy_rl authors, Apache-2.0"
release = "0.2.0"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "notebooks/**.md", "notebooks/*.ipynb"]
exclude_patterns = [".*", "docs/_build", "runs", "tests", "build", "*.egg-info", "**/__pycache__"]

nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]

html_theme = "furo"
html_title = "entropy_rl"
html_show_sourcelink = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
smartquotes = False
default_role = "code"  # `name` in docstrings


def setup(app):
    """After napoleon (priority 500): formulas as they are written, and no mark-up but `code` in prose."""
    app.connect("autodoc-process-docstring", lambda *a: _docstring(a[-1]), priority=600)
    app.connect("source-read", _markdown)
    app.connect("build-finished", _front_page)


def _markdown(app, name: str, source: list[str]) -> None:
    """What MyST wants to have otherwise than a code host: anchors, and titles of tables that scripts wrote."""
    text = re.sub(r'^<a id="([^"]+)"></a>$', r"(\1)=", source[0], flags=re.M)
    if name.startswith("notebooks/data/"):  # linked from pages and notebooks, in no table of contents
        title = "" if text.startswith("#") else f"# {name.removeprefix('notebooks/data/')}\n\n"
        text = f"---\norphan: true\n---\n\n{title}{text}"
    source[0] = text


def _docstring(lines: list[str]) -> None:
    """Changes a docstring, in place, to reStructuredText that has no errors: as it is written where need be."""
    text = _formulas(lines)
    parsed = docutils.core.publish_doctree(
        "\n".join(x for x in text if not x.startswith("..")).replace("`", "``"),
        settings_overrides={"report_level": 5, "halt_level": 5},
    )
    if any(parsed.findall(docutils.nodes.system_message)):
        text = ["::", "", *(f"   {line}" for line in lines)]
    lines[:] = text


def _formulas(lines: list[str]) -> list[str]:
    """Indented blocks between blank lines as literal blocks, marks of emphasis in prose escaped."""
    out, literal = [], False
    for i, line in enumerate(lines):
        indented = line.startswith("    ")
        if literal and line and not indented:
            literal = False
        if not literal and indented and (i == 0 or not lines[i - 1].strip()) and not _in_field(out):
            out += ["::", ""]
            literal = True
        out.append(line if literal or line.startswith((":", "..")) else _escaped(line))
    return out


def _in_field(out: list[str]) -> bool:
    last = next((x for x in reversed(out) if x.strip() and not x.startswith(" ")), "")
    return last.startswith((":", ".."))


def _escaped(line: str) -> str:
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(p if p.startswith("`") else re.sub(r"(?<!\\)([*|]|_\b)", r"\\\1", p) for p in parts)


def _front_page(app, error) -> None:
    """The site's top folder opens the documents' first page."""
    if error is None and app.builder.name == "html":
        page = '<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html"><title>entropy_rl</title>\n'
        (pathlib.Path(app.outdir) / "index.html").write_text(page)
