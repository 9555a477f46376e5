"""Sphinx's settings. `make docs` builds docs/_build/html; any warning fails it, and nothing needs the network."""

import os
import sys
import warnings
from pathlib import Path

# Set before anything imports matplotlib or torch: the gallery draws off screen, and small networks want one thread.
os.environ["MPLBACKEND"] = "agg"
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

import skclamp  # noqa: E402

project = "skclamp"
author = "the skclamp developers"
copyright = "the skclamp developers, BSD 3-Clause"
version = release = skclamp.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "_parameter_groups",
]
root_doc = "index"
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates"]
# Names in single backticks are parameters as often as links.
default_role = "literal"
highlight_language = "python"

nitpicky = True
# What other packages document, and no inventory of theirs is fetched for.
nitpick_ignore_regex = [(r"py:.*", r"(collections|matplotlib|numpy|pandas|sklearn|skorch|torch)\..*")]

autosummary_generate = True
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
# Longer signatures have one parameter a line.
python_maximum_signature_line_length = 60
python_trailing_comma_in_multi_line_signatures = False
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    # Only what is a page of the gallery; other scripts are for the command line.
    "ignore_pattern": r"^(?!.*plot_).*\.py$",
    "backreferences_dir": "api/examples",
    "doc_module": ("skclamp",),
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    # That page fetches scripts from the network.
    "write_computation_times": False,
    "abort_on_example_error": True,
    "within_subsection_order": "FileNameSortKey",
    "plot_gallery": "True",
}
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")

html_theme = "pydata_sphinx_theme"
html_title = "skclamp"
html_static_path = ["_static"]
html_css_files = ["skclamp.css"]
html_js_files = ["tables.js"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "navigation_with_keys": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"changelog": [], "contributing": [], "benchmarks": []}
