"""A record is dirty where code that decides its number differed from the commit, and for no other reason."""

import json
import shutil
import subprocess

import pytest

from oneshot_lib.experiments.rezende.tables import TABLE3
from oneshot_lib.runs import places
from oneshot_lib.runs.provenance import provenance, revision

FILES = ("oneshot_lib/training.py", "oneshot_lib/models/sequential.py", "oneshot_lib/data/splits/weak.json",
         "oneshot_lib/experiments/rezende/tables.py", "oneshot_lib/experiments/hewitt/sets.py",
         "oneshot_lib/cli/commands.py", "oneshot_lib/widgets/player.js", "oneshot_lib/plotting.py",
         "oneshot_lib/benchmarks/sampling.py", "book/experiments/rezende-table3.md", "tests/test_training.py",
         "README.md", "results/rezende-table3/laptop-seed0.json")  # fmt: skip
DECIDE = FILES[:4]
NOTEBOOK = "book/experiments/rezende-table3.ipynb"


def notebook(code="x = 1", output="1", prose="A sentence."):
    return json.dumps({"cells": [{"cell_type": "markdown", "source": [prose]},
                                 {"cell_type": "code", "source": [code], "outputs": [output]}]})  # fmt: skip


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A checkout with one commit."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed here")
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("as it was\n")
    (tmp_path / NOTEBOOK).write_text(notebook())
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    monkeypatch.setattr(places, "checkout", lambda: tmp_path)
    return tmp_path


def git(root, *words) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True, text=True).stdout


def commit(root) -> str:
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", "a step")
    return git(root, "rev-parse", "HEAD").strip()


@pytest.mark.parametrize("name", [*FILES, "oneshot_lib/models/new.py", "oneshot_lib/widgets/new.py", "book/new.md"])
def test_only_what_decides_the_number_makes_it_dirty(root, name):
    first = commit(root)
    assert revision(TABLE3) == (first, False)
    decides = name in (*DECIDE, "oneshot_lib/models/new.py")  # a module that nobody has committed included
    (root / name).write_text("as it is\n")
    assert revision(TABLE3) == (first, decides)
    second = commit(root)
    assert revision(TABLE3) == (second, False)
    assert provenance([[first, False], [second, False]], TABLE3) == (second, decides)  # two commits worked on it


@pytest.mark.parametrize("changes, decides", [({"output": "2"}, False), ({"prose": "Another."}, False),
                                              ({"code": "x = 2"}, True)])  # fmt: skip
def test_of_a_notebook_only_the_code_decides(root, changes, decides):
    first = commit(root)
    (root / NOTEBOOK).write_text(notebook(**changes))
    assert revision(TABLE3) == (first, decides)
    assert provenance([[first, False], [commit(root), False]], TABLE3)[1] is decides


def test_one_dirty_revision_is_enough_and_unknown_ones_are_not_clean(root):
    first = commit(root)
    second = commit(root)
    assert provenance([[first, False]], TABLE3) == (first, False)
    assert provenance([[first, True], [second, False]], TABLE3) == (second, True)
    assert provenance([[None, None]], TABLE3) == (None, None)
    for unknown in ([None, None], ["0" * 40, False]):
        assert provenance([unknown, [second, False]], TABLE3) == (second, True)


def test_what_git_cannot_say_is_not_called_clean(root, monkeypatch, tmp_path):
    (root / NOTEBOOK).write_text("no notebook")
    assert revision(TABLE3) == (None, None)
    (root / NOTEBOOK).unlink()
    assert revision(TABLE3) == (None, None)
    monkeypatch.setattr(places, "checkout", lambda: None)
    assert revision(TABLE3) == (None, None)
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(places, "checkout", lambda: tmp_path / "empty")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert revision(TABLE3) == (None, None)
