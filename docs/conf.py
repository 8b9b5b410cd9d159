"""Configuration of the documentation: `sphinx-build -W --keep-going -b html docs docs/_build`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

import sources  # noqa: E402

project = "optbench"
author = "the optbench authors"
copyright = author
version = release = sources.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "reference",
]
exclude_patterns = ["_build", "_ext", "jupyter_execute"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "substitution"]
myst_heading_anchors = 3
myst_url_schemes = {
    **dict.fromkeys(("http", "https", "mailto")),
    "published": {"url": "published/{{path}}.html#{{fragment}}"},  # from a page at the top of the site
}
myst_substitutions = {"streaming_dataset": f"`{sources.STREAMING.__module__}.{sources.STREAMING.__qualname__}`"}

nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"

default_role = "code"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Differs from"]

html_theme = "pydata_sphinx_theme"
html_title = f"optbench {version}"
html_theme_options = {
    "show_prev_next": True,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 7,
    "navbar_persistent": ["search-button"],
    "secondary_sidebar_items": {
        key: ["page-toc"] for key in ("tutorial/*", "how-to/*", "explanation/*", "development/*", "extending")
    },
    "show_nav_level": 2,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
html_sidebars = {"index": [], "verdicts": [], "extending": []}
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_show_sourcelink = False
copybutton_exclude = ".linenos, .gp, .go"
