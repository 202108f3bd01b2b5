"""Sphinx configuration. Nothing here needs the network."""

import os
import re
import sys
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "agg")
os.environ["TQDM_DISABLE"] = "1"  # a progress bar is no output of an example
DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(DOCS / "api"), str(ROOT)]

from _names import SECTIONS, full_names  # noqa: E402
from _pages import api_index, write_api_pages  # noqa: E402
from docutils import nodes  # noqa: E402
from docutils.utils.math.latex2mathml import tex2mathml  # noqa: E402

import milkit  # noqa: E402

project = "milkit"
author = "The milkit developers"
copyright = author
version = release = milkit.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "myst_parser",
]
exclude_patterns = ["_build", "api/generated/backreferences"]
templates_path = []
default_role = None

autosummary_generate = False  # the pages are written by _pages.py
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples"),
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"[\\/]plot_",
    "plot_gallery": True,
    "abort_on_example_error": True,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "download_all_examples": False,
    "backreferences_dir": "api/generated/backreferences",
    "doc_module": ("milkit",),
    "within_subsection_order": "_pages.QuickstartFirst",
    "copyfile_regex": r".*\.rst",
}

html_theme = "pydata_sphinx_theme"
html_title = "milkit"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["milkit.css"]
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": {"**": ["page-toc"], "leaderboard": []},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}
# Pages without anything to say on the left have no left side bar.
html_sidebars = {"index": [], "changes/index": [], "leaderboard": []}

# Top-level names have their page under the module that exports them.
PAGES = {name.rpartition(".")[2]: name for name in full_names()}
SKLEARN = "https://scikit-learn.org/stable/modules/generated/"


def read_source(app, docname, source):
    """Put in the tables of the API, which are made from data."""
    if docname == "api/index":
        app.env.note_dependency(str(DOCS / "api" / "_names.py"))
        source[0] = source[0].replace("{api}", api_index(SECTIONS))


def find_reference(app, env, node, contnode):
    """``milkit.MISVM`` leads to the page of ``milkit.svm.MISVM``, ``sklearn.*`` to their site."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].lstrip("~")
    module, _, name = target.rpartition(".")
    if module == "milkit" and name in PAGES:
        return env.domains["py"].resolve_xref(
            env, node["refdoc"], app.builder, "obj", PAGES[name], node, contnode
        )
    if target.startswith("sklearn.") and name and node.get("reftype") != "mod":
        # Methods are on the page of their class.
        page = target if not module.rpartition(".")[2][:1].isupper() else f"{module}"
        uri = f"{SKLEARN}{page}.html" + (f"#{target}" if page != target else "")
        return nodes.reference("", "", contnode, internal=False, refuri=uri)
    return None


def protect_trailing_underscores(app, what, name, obj, options, lines):
    """Keep ``(n_features_in_,)`` from being read as a link of reStructuredText."""
    lines[:] = [re.sub(r"(?<=[(, ])(\w+)_(?=[,)])", r"\1\\_", line) for line in lines]


def visit_math(self, node):
    """Formulae as MathML, which browsers show without a script from the network."""
    block = isinstance(node, nodes.math_block)
    # The converter reads \\frac{1}{2}, and not TeX's short form \\frac12.
    tex = re.sub(r"(\\[td]?frac)(\d)(\d)", r"\1{\2}{\3}", node.astext())
    mathml = tex2mathml(tex, as_block=block)
    self.body.append(f'<div class="math">{mathml}</div>' if block else mathml)
    raise nodes.SkipNode


def setup(app):
    """Connect what is made from data."""
    app.connect(
        "builder-inited",
        lambda app: write_api_pages(DOCS / "api" / "generated", SECTIONS),
        priority=100,
    )
    app.connect("source-read", read_source)
    # After numpydoc, which has 500.
    app.connect("autodoc-process-docstring", protect_trailing_underscores, priority=600)
    app.connect("missing-reference", find_reference)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
