"""Which code made a number: the commit, and whether what decides the number differed from it.

What decides the numbers of an experiment is the library without the parts that stand beside it (`BESIDE`) and without
the other papers' folders, and the code cells of its notebook. A sentence in a chapter, a widget, a test or another
paper's table is none of it: a record is `dirty` where the code that it came from is in no commit, or in several, and
for no other reason.
"""

import json
import subprocess
from pathlib import Path

from oneshot_lib.runs import places
from oneshot_lib.runs.experiment import Experiment

BESIDE = ("benchmarks", "cli", "plotting.py", "widgets")  # of the library, and of no number


def revision(experiment: Experiment) -> tuple[str | None, bool | None]:
    """The commit of the checkout, and whether what decides the experiment's numbers differs from it; (None, None)
    outside of one, and where git can't say."""
    root = places.checkout()
    if root is None:
        return None, None
    try:
        commit = _git(root, "rev-parse", "HEAD").strip()
        changed = _git(root, "status", "--porcelain", "--untracked-files=normal", "--", *decisive(root, experiment))
        return commit, bool(changed.strip()) or cells_at(root, experiment) != cells_at(root, experiment, commit)
    except (OSError, ValueError, subprocess.SubprocessError):  # what can't be looked at is not called clean
        return None, None


def provenance(revisions: list, experiment: Experiment) -> tuple[str | None, bool | None]:
    """The commit that a record carries, the last of those that worked on its run, and whether it is not the whole
    truth: at one of them what decides the numbers differed from the commit, or it is another in an earlier one.
    """
    commit, _ = revisions[-1]
    if commit is None:
        return None, None
    commits = list(dict.fromkeys(found for found, _ in revisions))
    return commit, any(dirty is not False for _, dirty in revisions) or any(
        not same_code(earlier, commit, experiment) for earlier in commits[:-1])


def same_code(one: str | None, other: str, experiment: Experiment) -> bool:
    """Whether what decides the experiment's numbers is the same in two commits; False where git can't say."""
    root = places.checkout()
    if root is None or one is None:
        return False
    try:
        changed = _git(root, "diff", "--name-only", one, other, "--", *decisive(root, experiment))
        return not changed.strip() and cells_at(root, experiment, one) == cells_at(root, experiment, other)
    except (OSError, ValueError, subprocess.SubprocessError):
        return False


def decisive(root: Path, experiment: Experiment) -> list[str]:
    """The files that decide the experiment's numbers, its notebook aside, as git's pathspecs."""
    papers = sorted(folder.name for folder in (root / "oneshot_lib/experiments").glob("*/") if folder.is_dir())
    others = [f"experiments/{paper}" for paper in papers if paper != experiment.paper and paper[0] not in "_."]
    return ["oneshot_lib", *(f":!oneshot_lib/{part}" for part in (*BESIDE, *others))]


def cells_at(root: Path, experiment: Experiment, commit: str | None = None) -> list[str]:
    """The code cells of the experiment's notebook, in a commit or as they lie there."""
    path = f"book/experiments/{experiment.name}.ipynb"
    text = (root / path).read_text(encoding="utf-8") if commit is None else _git(root, "show", f"{commit}:{path}")
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout
