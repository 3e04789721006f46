"""The book's notebooks: pairs that agree, and the rules that every page keeps (STYLE)."""

import ast
import re
import statistics

import nbformat
import pairs
import pytest

NOTEBOOKS = [name for name in pairs.notebooks() if pairs.notebook_of(name).exists()]
FRONT_MATTER = {"book/intro", "book/how-to-use", "book/notation"}
CHAPTERS = [n for n in NOTEBOOKS if n not in FRONT_MATTER and "/experiments/" not in n]
FORBIDDEN = {
    r"\bchdir\b": "changes the working directory",
    r"^\s*[%!]\s*(pip|conda)\b": "installs something",
    r"\binteract(ive)?\(|import.*\binteract\b": "uses interact, which hangs now and then under nbclient",
    r"\bwidgets\.(Output|Play)\(|import.*\b(Output|Play)\b": "uses ipywidgets' Output or Play",
    r"\btqdm\.notebook\b|tqdm\.auto\b": "uses tqdm's notebook widget",
    r"\bsys\.path\b": "changes the import path",
}
every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def code_cells(name):
    return [cell for cell in pairs.read_notebook(pairs.notebook_of(name)).cells if cell.cell_type == "code"]


def lines(cell):
    return [line for line in cell.source.splitlines() if "NBVAL_" not in line]


# ---------------------------------------------------------------- the table of contents


@pytest.mark.parametrize("name", pairs.pages())
def test_every_page_that_the_contents_name_is_there(name):
    assert pairs.notebook_of(name).exists() or pairs.markdown_of(name).exists()


def test_every_page_is_named_in_the_contents():
    files = [path for kind in ("*.md", "*.ipynb") for path in (pairs.ROOT / "book").rglob(kind)]
    here = {
        path.relative_to(pairs.ROOT).with_suffix("").as_posix()
        for path in files
        if not any(part.startswith((".", "_")) for part in path.relative_to(pairs.ROOT).parts)
    }
    assert here == set(pairs.pages())


def test_no_page_is_named_twice():
    assert len(pairs.pages()) == len(set(pairs.pages()))


# ---------------------------------------------------------------- pairs


@pytest.mark.parametrize("name", pairs.notebooks())
def test_a_notebook_and_its_markdown_twin_agree(name):
    assert pairs.drift(name) == []


def pair_in(folder, monkeypatch, name="book/page"):
    """A small pair of its own, away from the book."""
    monkeypatch.setattr(pairs, "ROOT", folder)
    text = "---\njupytext:\n  formats: ipynb,md:myst\n---\n\n# Title\n\n```{code-cell} ipython3\n1 + 1\n```\n"
    text += "\n```{code-cell} ipython3\n:tags: [parameters]\n\nseed = 0\n```\n"
    (folder / "book").mkdir()
    pairs.markdown_of(name).write_text(text)
    pairs.sync(name)
    return name


@pytest.mark.parametrize("change", ["source", "metadata", "count", "kind"])
def test_a_drift_of_any_kind_is_found(change, tmp_path, monkeypatch):
    name = pair_in(tmp_path, monkeypatch)
    assert pairs.drift(name) == []
    notebook = pairs.read_notebook(pairs.notebook_of(name))
    if change == "source":
        notebook.cells[1].source = "1 + 2"
    elif change == "metadata":
        notebook.cells[2].metadata["tags"] = ["hide-input"]
    elif change == "count":
        notebook.cells.append(nbformat.v4.new_code_cell("3"))
    else:
        notebook.cells[1] = nbformat.v4.new_markdown_cell("1 + 1")
    pairs.write_notebook(notebook, pairs.notebook_of(name))
    assert pairs.drift(name)


def test_outputs_and_what_programs_leave_behind_are_no_drift(tmp_path, monkeypatch):
    name = pair_in(tmp_path, monkeypatch)
    notebook = pairs.read_notebook(pairs.notebook_of(name))
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="2\n")]
    notebook.cells[1].metadata.update(papermill={"duration": 1.0}, tags=[])
    pairs.write_notebook(notebook, pairs.notebook_of(name))
    assert pairs.drift(name) == []


def test_syncing_keeps_the_outputs_of_cells_that_did_not_change(tmp_path, monkeypatch):
    name = pair_in(tmp_path, monkeypatch)
    notebook = pairs.read_notebook(pairs.notebook_of(name))
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="2\n")]
    pairs.write_notebook(notebook, pairs.notebook_of(name))
    markdown = pairs.markdown_of(name)
    markdown.write_text(markdown.read_text().replace("seed = 0", "seed = 1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "drift", lambda name: ["changed"])
        newer = markdown.stat().st_mtime + 10
        pairs.os.utime(markdown, (newer, newer))
        pairs.sync(name)
    cells = pairs.read_notebook(pairs.notebook_of(name)).cells
    assert cells[1].outputs[0].text == "2\n" and cells[2].source == "seed = 1"


def test_the_markdown_twin_is_written_from_the_notebook_when_asked_for(tmp_path, monkeypatch):
    name = pair_in(tmp_path, monkeypatch)
    notebook = pairs.read_notebook(pairs.notebook_of(name))
    notebook.cells[1].source = "1 + 2"
    pairs.write_notebook(notebook, pairs.notebook_of(name))
    pairs.sync(name, from_notebook=True)
    text = pairs.markdown_of(name).read_text()
    assert pairs.drift(name) == [] and "1 + 2" in text and "text_representation" not in text


def test_a_newer_notebook_is_not_overwritten_by_its_twin(tmp_path, monkeypatch):
    name = pair_in(tmp_path, monkeypatch)
    markdown = pairs.markdown_of(name)
    markdown.write_text(markdown.read_text().replace("seed = 0", "seed = 1"))
    pairs.os.utime(markdown, (1, 1))
    with pytest.raises(pairs.BookError, match="newer"):
        pairs.sync(name)


# ---------------------------------------------------------------- what a committed notebook holds


@every_notebook
def test_a_notebook_holds_no_widget_state_and_no_timestamps(name):
    notebook = pairs.read_notebook(pairs.notebook_of(name))
    assert "widgets" not in notebook.metadata and "papermill" not in notebook.metadata
    assert all(cell.metadata == pairs.cell_metadata(cell) for cell in notebook.cells)
    assert not any(pairs.WIDGET_VIEW in o.get("data", {}) and "text/html" in o.data
                   for cell in code_cells(name) for o in cell.outputs)  # fmt: skip


@every_notebook
def test_a_notebook_was_executed_from_top_to_bottom_and_nothing_went_wrong(name):
    cells = [cell for cell in code_cells(name) if cell.source.strip()]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    wrong = [o for cell in cells for o in cell.outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert wrong == []


@every_notebook
def test_no_output_shows_a_path_of_the_machine_that_ran_it(name):
    assert pairs.machine_paths(pairs.read_notebook(pairs.notebook_of(name))) == []


@pytest.mark.parametrize(
    "text, shown",
    [
        ("saved to /" + "home/somebody/runs", True),
        ("('/" + "tmp/abc.gif',)", True),
        ("C:\\Users\\somebody", True),
        ("from $ONESHOT_DATA/omniglot or ~/.cache", False),
        ("src=data:image/png;base64,iVBOR/" + "home/w+/" + "tmp/x", False),
        ("see https://example.org/" + "home/page", False),
    ],
)
def test_machine_paths_are_told_from_what_looks_like_them(text, shown):
    cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("stream", text=text)])
    assert bool(pairs.machine_paths(nbformat.v4.new_notebook(cells=[cell]))) is shown


# ---------------------------------------------------------------- how a page reads


@every_notebook
def test_cells_are_short(name):
    sizes = [len(lines(cell)) for cell in code_cells(name)]
    assert max(sizes) <= 15 and statistics.median(sizes) <= 6


@every_notebook
def test_the_first_code_cell_imports_and_is_under_five_lines(name):
    first = code_cells(name)[0]
    assert len(lines(first)) < 5
    assert all(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.parse(first.source).body)


@every_notebook
def test_one_tagged_cell_holds_the_parameters(name):
    tagged = [cell.source for cell in code_cells(name) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert re.search(r"^preset = \"quick\"", tagged[0], re.MULTILINE) and re.search(r"^seed = ", tagged[0], re.M)


@every_notebook
def test_nothing_is_done_that_a_page_must_not_do(name):
    for cell in code_cells(name):
        for pattern, what in FORBIDDEN.items():
            assert not re.search(pattern, cell.source, re.MULTILINE), f"{name} {what}: {cell.source}"
        assert not pairs.MACHINE_PATH.search(cell.source)


@every_notebook
def test_something_is_checked_when_the_notebook_is_validated(name):
    assert any("NBVAL_CHECK_OUTPUT" in cell.source for cell in code_cells(name))


def passes_unsaid(source):
    """The assertions of a cell that hold for want of something to be asked: `assert claim or not known`."""
    asserted = [node.test for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
    return [ast.unparse(test) for test in asserted for part in ast.walk(test)
            if isinstance(part, ast.BoolOp) and isinstance(part.op, ast.Or)
            and any(isinstance(value, ast.UnaryOp) and isinstance(value.operand, ast.Name) for value in part.values)]


@pytest.mark.parametrize("name", [*CHAPTERS, *sorted(FRONT_MATTER & set(NOTEBOOKS))])
def test_what_is_not_checked_says_so(name):
    assert [found for cell in code_cells(name) for found in passes_unsaid(cell.source)] == []


def test_an_assertion_that_passes_without_a_word_is_found():
    assert passes_unsaid("assert a < b or not known") and passes_unsaid("assert not known or a")
    assert not passes_unsaid("assert a < b\nassert not known\ncheck(a or not b)")


@every_notebook
def test_every_picture_has_a_text_that_describes_it(name):
    for cell in code_cells(name):
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            assert len(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")) >= 15, cell.source


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_ends_with_exercises_and_their_folded_answers(name):
    cells = pairs.read_notebook(pairs.notebook_of(name)).cells
    prose = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    exercises = prose.partition("## Exercises")[2]
    asked = len(re.findall(r"^\*\*\d+\.\*\*", exercises, re.MULTILINE))
    assert asked > 0 and exercises.count("<details><summary>") == exercises.count("</details>") == asked
