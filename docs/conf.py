"""The documentation as a site: `make docs`. It is built offline, and what is built asks no other host for anything."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import site_reference  # noqa: E402
import sphinx.application  # noqa: E402

project = "scheduler-core"
release = version = metadata.version("scheduler-core")
copyright = "the authors of scheduler-core, Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
root_doc = "index"

# A heading's address is the same here as on a code host: lower case, dashes.
myst_heading_anchors = 4
myst_links_external_new_tab = False
# A test parses what is shown as TOML, JSON or SQL; the lexers don't know psql's variables or an ellipsis.
suppress_warnings = ["misc.highlighting_failure"]

default_role = "code"  # `word` in a docstring is code, as in Markdown
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # a field of `Attributes:` that autodoc finds too is else described twice
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": False}

html_theme = "furo"
html_title = "scheduler-core"
html_show_sphinx = False
html_copy_source = False
html_static_path: list[str] = []


def setup(app: sphinx.application.Sphinx) -> None:
    """Write the reference's pages from the code, before anything is read."""
    app.connect("config-inited", lambda _app, _config: site_reference.write(Path(__file__).parent / "reference"))
