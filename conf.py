"""The site: plain Sphinx over executed notebooks; `make book` runs it on a copy of book/ in _build/source."""

import shutil
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent

project = "One-Shot Generative Models"
author = "The oneshot-lib authors"
copyright = author
language = "en"

extensions = [
    "myst_nb",
    "sphinx_external_toc",
    "sphinx.ext.mathjax",
    "sphinxcontrib.bibtex",
    "sphinx_exercise",
    "sphinx_proof",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx_togglebutton",
]

# Pages: what _toc.yml names, nothing else. A notebook's Markdown twin is for reviewers, not for the site.
external_toc_path = "_toc.yml"
external_toc_exclude_missing = True
exclude_patterns = ["_build", ".venv", "**/.ipynb_checkpoints"] + [
    twin.relative_to(HERE).as_posix()
    for twin in sorted(HERE.glob("book/**/*.md"))
    if twin.with_suffix(".ipynb").exists()
]

# Notebooks: they hold their outputs, so nothing runs here. Where an output has an HTML copy of itself (every
# widget has), the copy is shown: it needs no kernel, and no script from elsewhere.
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"  # tables that a cell displays, read from the records
nb_mime_priority_overrides = [
    ("html", "text/html", 5),
    ("html", "image/svg+xml", 7),
    ("html", "image/png", 8),
]
nb_ipywidgets_js = {}

# Text
myst_enable_extensions = [
    "amsmath",
    "attrs_block",
    "attrs_inline",
    "colon_fence",
    "deflist",
    "dollarmath",
    "html_image",
]
myst_heading_anchors = 3
numfig = True
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"
bibtex_reference_style = "author_year"

# Mathematics: MathJax lies in the site (copy_mathjax). There are no macros: JupyterLab and code hosts, where
# the same notebooks are read, would not know them.
math_eqref_format = "({number})"
mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config = {"options": {"enableMenu": True}}

# Looks
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["book/_static"]
html_css_files = ["book.css"]
html_favicon = "book/_static/favicon.svg"
html_copy_source = True
html_show_sourcelink = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_persistent": [],
    "show_navbar_depth": 2,
    "show_toc_level": 2,
    "use_download_button": True,
    "use_fullscreen_button": True,
    "use_repository_button": False,
    "extra_footer": "",
}
togglebutton_hint = "Show"
togglebutton_hint_hide = "Hide"
copybutton_selector = "div.highlight pre"

FRONT_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{project}</title>
<meta http-equiv="refresh" content="0; url={target}">
</head>
<body><h1>{project}</h1><p><a href="{target}">To the front page</a></p></body>
</html>
"""


def write_index(app, exception):
    """Put an index.html at the top of the site that leads to the book's first page."""
    if exception is None and app.builder.format == "html" and app.config.root_doc != "index":
        target = app.builder.get_target_uri(app.config.root_doc)
        Path(app.outdir, "index.html").write_text(FRONT_PAGE.format(project=project, target=target))


def copy_mathjax(app, exception):
    """Put MathJax 3 into the site: of what sphinx-mathjax-offline carries, one bundle and what it loads."""
    if exception is None and app.builder.format == "html":
        source = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
        target = Path(app.outdir, "_static", "mathjax")
        for part in ("a11y", "input", "output", "sre", "ui"):
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        shutil.copy(source / Path(mathjax_path).name, target)


def setup(app):
    app.connect("build-finished", write_index)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
