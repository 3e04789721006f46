"""The pages of the book, and its notebooks' pairs: NAME.ipynb with its outputs, NAME.md for its reviewers."""

import json
import os
import re
from pathlib import Path

import jupytext
import nbformat
import yaml
from jupytext.combine import combine_inputs_with_outputs
from jupytext.config import load_jupytext_configuration_file

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ROOT / "pyproject.toml"
MYST = "md:myst"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
LEFT_BEHIND = {
    "papermill",
    "execution",
    "ExecuteTime",
    "collapsed",
    "scrolled",
    "editable",
    "slideshow",
    "trusted",
}
MACHINE_PATH = re.compile(r"(?<![\w+/=.])(/(home|root|tmp|Users|private|mnt|media|scratch|work)/\w|[A-Z]:\\+Users\\)")


class BookError(Exception):
    """What is wrong with the book, in words that its author can act on."""


def pages() -> list[str]:
    """Every page in reading order, as _toc.yml names it ("book/notation")."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    found = [toc.pop("root")]

    def walk(node):
        if isinstance(node, dict):
            found.extend([node["file"]] if "file" in node else [])
            node = list(node.values())
        for child in node if isinstance(node, list) else []:
            walk(child)

    walk(toc)
    return found


def notebooks() -> list[str]:
    """The pages that are notebooks, then the experiments that are not pages."""
    experiments = sorted((ROOT / "book/experiments").glob("*.ipynb"))
    named = [name for name in pages() if notebook_of(name).exists() or is_twin(markdown_of(name))]
    return list(dict.fromkeys([*named, *(path.relative_to(ROOT).with_suffix("").as_posix() for path in experiments)]))


def notebook_of(name: str) -> Path:
    return ROOT / f"{name}.ipynb"


def markdown_of(name: str) -> Path:
    return ROOT / f"{name}.md"


def is_twin(markdown: Path) -> bool:
    """Whether a Markdown file is half of a pair (its header names the pairing), and not a page of prose."""
    if not markdown.exists():
        return False
    header = re.match(r"---\n(.*?)\n---\n", markdown.read_text(encoding="utf-8"), re.DOTALL)
    return bool(header) and "jupytext" in (yaml.safe_load(header[1]) or {})


def read_notebook(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def write_notebook(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write in one move: an interrupted run leaves no half notebook."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(nbformat.writes(notebook).rstrip("\n") + "\n", encoding="utf-8")
    os.replace(partial, path)


def cell_metadata(cell) -> dict:
    """A cell's metadata that an author wrote, without what programs leave behind."""
    return {k: v for k, v in cell.metadata.items() if k not in LEFT_BEHIND and v not in ([], {}, "")}


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Take out what would differ on the next machine, and the widget state that some viewers refuse.

    A widget's output keeps its self-contained HTML copy and loses its reference to a kernel that is gone.
    """
    pairing = {"formats": notebook.metadata.get("jupytext", {}).get("formats", "ipynb,md:myst")}
    language = {
        "name": "python",
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "pygments_lexer": "ipython3",
    }
    notebook.metadata = nbformat.from_dict({"jupytext": pairing, "kernelspec": KERNEL, "language_info": language})
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(cell_metadata(cell))
        for output in cell.get("outputs", []):
            if "text/html" in output.get("data", {}):
                output.data.pop(WIDGET_VIEW, None)
    return notebook


def machine_paths(notebook: nbformat.NotebookNode) -> list[str]:
    """Paths of the machine that executed a notebook, where its outputs show them."""
    found = []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            data = {kind: value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")}
            text = json.dumps([data, output.get("text", ""), output.get("traceback", "")], ensure_ascii=False)
            found += [f"cell {number} shows {text[m.start() : m.start() + 40]!r}" for m in MACHINE_PATH.finditer(text)]
    return found


def drift(name: str) -> list[str]:
    """Where a notebook and its Markdown twin say different things, one line a difference."""
    for half in (notebook_of(name), markdown_of(name)):
        if not half.exists():
            return [f"{half.relative_to(ROOT)} is missing (see python book/build.py --help, --sync)"]
    ours = read_notebook(notebook_of(name)).cells
    theirs = jupytext.reads(markdown_of(name).read_text(encoding="utf-8"), fmt=MYST).cells
    if len(ours) != len(theirs):
        return [f"{name}: {len(ours)} cells in the notebook, {len(theirs)} in its Markdown twin"]
    return [
        f"{name}: cell {number} differs from its Markdown twin: {one.source.strip()[:60]!r}"
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True))
        if (one.cell_type, one.source.strip(), cell_metadata(one))
        != (other.cell_type, other.source.strip(), cell_metadata(other))
    ]


def sync(name: str, from_notebook: bool = False) -> str | None:
    """Rewrite the half of a pair that lags behind; say which, or None where the halves agree."""
    notebook, markdown = notebook_of(name), markdown_of(name)
    if notebook.exists() and markdown.exists() and not drift(name):
        return None
    if from_notebook:
        settings = load_jupytext_configuration_file(str(SETTINGS))
        text = jupytext.writes(clean(read_notebook(notebook)), fmt=MYST, config=settings)
        markdown.write_text(text, encoding="utf-8")
        return f"{name}.md written from its notebook"
    if not markdown.exists():
        raise BookError(f"{name}.md is missing: use --from-notebook to write it")
    if notebook.exists() and notebook.stat().st_mtime > markdown.stat().st_mtime + 1:
        raise BookError(f"{name}.ipynb is newer than {name}.md: use --from-notebook, or touch the .md to overrule")
    fresh = jupytext.reads(markdown.read_text(encoding="utf-8"), fmt=MYST)
    if notebook.exists():
        fresh = combine_inputs_with_outputs(fresh, read_notebook(notebook))
    write_notebook(clean(fresh), notebook)
    return f"{name}.ipynb written from its Markdown twin"
