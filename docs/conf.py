"""How Sphinx builds these pages: python -m sphinx -W --keep-going docs docs/_build."""

import re
import shutil
from pathlib import Path

import corontools

HERE = Path(__file__).resolve().parent

project = "corontools"
author = "the corontools developers"
version = release = corontools.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "numpydoc", "myst_nb"]
exclude_patterns = ["_build", "_templates", "images"]
templates_path = ["_templates"]

# The tutorials live beside docs/, as `corontools lab` and Binder find them; Sphinx reads only what is below it.
tutorials = HERE / "tutorials"
tutorials.mkdir(exist_ok=True)
for notebook in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
    shutil.copy2(notebook, tutorials)

# what is committed was checked by the tests; nothing is run here
nb_execution_mode = "off"
# a view needs a kernel: its card is what a page can show
nb_mime_priority_overrides = [("html", "text/html", 0), ("html", "application/vnd.jupyter.widget-view+json", None)]
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
myst_enable_extensions = ["dollarmath"]

autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_imported_members = True
autodoc_typehints = "none"  # the docstrings say more than the types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
default_role = "autolink"

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_sidebars = {page: [] for page in ("index", "tutorials", "tutorials/*", "guide", "coming_from")}
html_title = "corontools"
html_show_sourcelink = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}


def setup(app):
    """Docstrings are written for people: |x| is a modulus, not a substitution."""

    def escape(_app, _what, _name, _object, _options, lines):
        lines[:] = [re.sub(r"(?<![\w|`])\|([^|`]+)\|", r"\\|\1\\|", line) for line in lines]

    app.connect("autodoc-process-docstring", escape)
