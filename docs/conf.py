"""Configure the documentation site: `make docs` builds it, offline, into docs/_build/html."""

import re
from typing import Any

from leym import __version__

project = "Ley M simulation service"
author = "The Ley M service authors"
project_copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

html_theme = "furo"
html_title = project
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "code"  # single backticks in docstrings
autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "undoc-members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # or an attribute in a docstring and the field itself are two objects of one name

# The inventories of other projects would have to be fetched, so their names are no links. Names of this project's
# public pages are: a wrong one fails the build.
nitpick_ignore_regex = [("py:.*", r"(?!leym\.(client|spec|laws)\.).*")]

# For `make linkcheck`, which needs a network. Addresses of a service on this machine are examples.
linkcheck_ignore = [r"http://127\.0\.0\.1.*", r"https://(leym|viewer)\.example.*"]
linkcheck_timeout = 30
linkcheck_retries = 2


def take_asterisks_literally(app: Any, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Escape asterisks outside of backticks: in docstrings they are formulas and keyword arguments, never emphasis."""
    lines[:] = [re.sub(r"(`[^`]*`)|\*", lambda found: found[1] or r"\*", line) for line in lines]


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", take_asterisks_literally)
