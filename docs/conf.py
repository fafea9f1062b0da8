"""Sphinx builds docs/ with this: `tox -e docs`."""

from __future__ import annotations

import logging
import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

from azurelite.version import VERSION

project = "azurelite"
author = "the azurelite authors"
release = version = VERSION
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["generator"]
html_theme = "furo"
html_title = f"azurelite {VERSION}"
smartquotes = False  # `--root` has two hyphens
html_static_path = ["static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_sphinx = False
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
default_role = "code"  # docstrings use single backquotes for code
autodoc_member_order = "bysource"

# Pages that the text calls by their path in the checkout.
ELSEWHERE = {"contrib/handlers.md": "reference/handlers"}


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    logging.getLogger("sphinx.sphinx.directives.other").addFilter(not_about_empty_folders)
    app.connect("doctree-read", link_pages)
    return {"parallel_read_safe": True}


def not_about_empty_folders(record: logging.LogRecord) -> bool:
    """Whether to log a message: a folder of guides may be empty, which has no type to suppress."""
    return "glob pattern" not in str(record.msg)


def link_pages(app: Sphinx, doctree: nodes.document) -> None:
    """Make `docs/boot.md` in code font a link to that page. A page that does not exist becomes a warning."""
    for node in list(doctree.findall(nodes.literal)):
        name = node.astext()
        page = re.fullmatch(r"docs/([\w/-]+)\.md", name)
        target = page[1] if page else ELSEWHERE.get(name)
        if target is not None and not isinstance(node.parent, (nodes.reference, pending_xref)):
            link = pending_xref("", refdomain="std", reftype="doc", reftarget=f"/{target}", refexplicit=False)
            link.update_all_atts_consistantly({"refdoc": app.env.docname, "refwarn": True})
            link.line = node.parent.line
            node.replace_self(link)
            link += node
