"""Configuration of the documentation site; `make docs` builds it."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "napari-hyperspace"
author = "napari-hyperspace developers"
copyright = author
release = installed_version(project)
version = release.partition("+")[0]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
default_role = "py:obj"  # `name` in docstrings

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False

copybutton_exclude = ".linenos, .gp, .go"

html_theme = "pydata_sphinx_theme"
html_title = "napari-hyperspace"
html_logo = "../napari_hyperspace/gui/icon.svg"
html_favicon = html_logo
html_sidebars: dict[str, list[str]] = {"index": [], "api": []}
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "napari-hyperspace"},
    "navigation_with_keys": True,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
